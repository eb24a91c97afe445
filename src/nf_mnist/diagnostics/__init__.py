"""Functions that measure a flow: tensors in, numbers out."""

from nf_mnist.diagnostics.behaviour import Drop, Likeness, likeness, noise_drop, perturbation_error
from nf_mnist.diagnostics.contract import Invertible, breaches
from nf_mnist.diagnostics.evaluation import Evaluation, evaluate_flow
from nf_mnist.diagnostics.jacobian import LogDet, Stretch, exact_log_det, stretch
from nf_mnist.diagnostics.latent import Radius, moments, radius, random_projection
from nf_mnist.diagnostics.round_trip import round_trip_error

__all__ = [
    "Drop",
    "Evaluation",
    "Invertible",
    "Likeness",
    "LogDet",
    "Radius",
    "Stretch",
    "breaches",
    "evaluate_flow",
    "exact_log_det",
    "likeness",
    "moments",
    "noise_drop",
    "perturbation_error",
    "radius",
    "random_projection",
    "round_trip_error",
    "stretch",
]
