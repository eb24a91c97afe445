"""Functions that measure a flow: tensors in, numbers out."""

from nf_mnist.diagnostics.evaluation import Evaluation, evaluate_flow
from nf_mnist.diagnostics.latent import Radius, moments, radius, random_projection
from nf_mnist.diagnostics.round_trip import round_trip_error

__all__ = ["Evaluation", "Radius", "evaluate_flow", "moments", "radius", "random_projection", "round_trip_error"]
