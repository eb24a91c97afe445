"""Functions that measure a flow: tensors in, numbers out; and the laws that judge them."""

from nf_mnist.diagnostics.behaviour import Drop, Likeness, likeness, noise_drop, perturbation_error
from nf_mnist.diagnostics.contract import Invertible, breaches
from nf_mnist.diagnostics.couplings import largest_log_scale
from nf_mnist.diagnostics.density_laws import NOISE_SCALES
from nf_mnist.diagnostics.evaluation import Evaluation, evaluate_flow
from nf_mnist.diagnostics.gradients import Slope, Slopes, slopes_of_log_p
from nf_mnist.diagnostics.jacobian import LogDet, Stretch, exact_log_det, stretch
from nf_mnist.diagnostics.latent import (
    Offenders,
    Radius,
    moments,
    offenders,
    projection_distance,
    radius,
    random_projection,
)
from nf_mnist.diagnostics.law import Finding, Law, NotMeasured, Verdict, diagnose, law
from nf_mnist.diagnostics.laws import LAWS
from nf_mnist.diagnostics.layers import Given, first_layer, reached_layers
from nf_mnist.diagnostics.likelihood import (
    Gap,
    fullest_sixteenth,
    generalisation_gap,
    has_bits,
    likelihood_unit,
    most_frequent_share,
    silent_layers,
    undithered_gain,
)
from nf_mnist.diagnostics.norms import Magnification, NormStatistics, magnification, norm_statistics
from nf_mnist.diagnostics.outliers import STRANGE, Outliers, outliers
from nf_mnist.diagnostics.round_trip import RoundTrip, round_trip, round_trip_error
from nf_mnist.diagnostics.subject import Batch, Scores, Subject, as_flow, make_batch

__all__ = [
    "LAWS",
    "NOISE_SCALES",
    "STRANGE",
    "Batch",
    "Drop",
    "Evaluation",
    "Finding",
    "Gap",
    "Given",
    "Invertible",
    "Law",
    "Likeness",
    "LogDet",
    "Magnification",
    "NormStatistics",
    "NotMeasured",
    "Offenders",
    "Outliers",
    "Radius",
    "RoundTrip",
    "Scores",
    "Slope",
    "Slopes",
    "Stretch",
    "Subject",
    "Verdict",
    "as_flow",
    "breaches",
    "diagnose",
    "evaluate_flow",
    "exact_log_det",
    "first_layer",
    "fullest_sixteenth",
    "generalisation_gap",
    "has_bits",
    "largest_log_scale",
    "law",
    "likelihood_unit",
    "likeness",
    "magnification",
    "make_batch",
    "moments",
    "most_frequent_share",
    "noise_drop",
    "norm_statistics",
    "offenders",
    "outliers",
    "perturbation_error",
    "projection_distance",
    "radius",
    "random_projection",
    "reached_layers",
    "round_trip",
    "round_trip_error",
    "silent_layers",
    "slopes_of_log_p",
    "stretch",
    "undithered_gain",
]
