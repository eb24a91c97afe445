"""Measures of a flow (tensors in, numbers out), and the checks that compare them with what healthy flows have.

``access`` calls a flow and its layers, ``measures`` turn what comes back into numbers, ``checks`` compare these with
what healthy flows have, ``causes`` find out why one of them is off, and ``report`` is what a person reads of it all. A
``task`` is what checks look at, and ``base`` says what a check is.
"""

from nf_mnist.diagnostics.access.batch import Batch, make_batch
from nf_mnist.diagnostics.access.external import as_flow
from nf_mnist.diagnostics.access.invertible import Invertible
from nf_mnist.diagnostics.access.layers import WithContext, first_layer, reached_layers
from nf_mnist.diagnostics.base import Check, Measurement, NotMeasured, Result, check
from nf_mnist.diagnostics.checks import CHECKS
from nf_mnist.diagnostics.measures.behaviour import Drop, Likeness, likeness, noise_drop, perturbation_error
from nf_mnist.diagnostics.measures.contract import violations
from nf_mnist.diagnostics.measures.gradients import Slope, Slopes, slopes_of_log_p
from nf_mnist.diagnostics.measures.jacobian import LogDet, Stretch, exact_log_det, stretch
from nf_mnist.diagnostics.measures.likelihood import (
    Gap,
    fullest_sixteenth,
    generalisation_gap,
    most_frequent_share,
    undithered_gain,
)
from nf_mnist.diagnostics.measures.norms import Magnification, NormStatistics, magnification, norm_statistics
from nf_mnist.diagnostics.report.summary import answer
from nf_mnist.diagnostics.running import diagnose
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
