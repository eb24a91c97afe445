"""Measures of a flow (tensors in, numbers out), and the checks that compare them with what healthy flows have."""

from nf_mnist.diagnostics.base import Check, Measurement, NotMeasured, Result, check
from nf_mnist.diagnostics.batch import Batch, make_batch
from nf_mnist.diagnostics.behaviour import Drop, Likeness, likeness, noise_drop, perturbation_error
from nf_mnist.diagnostics.checks import CHECKS
from nf_mnist.diagnostics.contract import violations
from nf_mnist.diagnostics.external import as_flow
from nf_mnist.diagnostics.gradients import Slope, Slopes, slopes_of_log_p
from nf_mnist.diagnostics.invertible import Invertible
from nf_mnist.diagnostics.jacobian import LogDet, Stretch, exact_log_det, stretch
from nf_mnist.diagnostics.layers import WithContext, first_layer, reached_layers
from nf_mnist.diagnostics.likelihood import (
    Gap,
    fullest_sixteenth,
    generalisation_gap,
    most_frequent_share,
    undithered_gain,
)
from nf_mnist.diagnostics.norms import Magnification, NormStatistics, magnification, norm_statistics
from nf_mnist.diagnostics.running import diagnose
from nf_mnist.diagnostics.summary import answer
from nf_mnist.diagnostics.task import DiagnosisTask, Scores

__all__ = [
    "CHECKS",
    "Batch",
    "Check",
    "DiagnosisTask",
    "Drop",
    "Gap",
    "Invertible",
    "Likeness",
    "LogDet",
    "Magnification",
    "Measurement",
    "NormStatistics",
    "NotMeasured",
    "Result",
    "Scores",
    "Slope",
    "Slopes",
    "Stretch",
    "WithContext",
    "answer",
    "as_flow",
    "check",
    "diagnose",
    "exact_log_det",
    "first_layer",
    "fullest_sixteenth",
    "generalisation_gap",
    "likeness",
    "magnification",
    "make_batch",
    "most_frequent_share",
    "noise_drop",
    "norm_statistics",
    "perturbation_error",
    "reached_layers",
    "slopes_of_log_p",
    "stretch",
    "undithered_gain",
    "violations",
]
