"""Metrics of a flow and of its samples: likelihood, latents, OOD detection, Frechet distance, neighbours, R-hat."""

from nf_mnist.metrics.bayes import (
    accuracy,
    check_classes,
    expected_calibration_error,
    label_nats,
    log_likelihood_by_class,
    log_likelihood_without_label,
)
from nf_mnist.metrics.digits import CONFIDENT, check_digits, class_histogram, class_kl, confident_share
from nf_mnist.metrics.draws import Drawn, Sampling, draw_levels, sample_labels
from nf_mnist.metrics.evaluation import Evaluation, evaluate_flow
from nf_mnist.metrics.frechet import frechet_distance, gaussian_frechet_distance
from nf_mnist.metrics.invertibility import RoundTrip, round_trip, round_trip_error
from nf_mnist.metrics.latents import (
    Offenders,
    Radius,
    chi_moments,
    moments,
    offenders,
    projection_distance,
    radius,
    random_projection,
)
from nf_mnist.metrics.likelihood import (
    bits_per_dim,
    count_parameters,
    has_bits,
    likelihood_unit,
    log_mean_exp,
    silent_layers,
)
from nf_mnist.metrics.neighbours import N_NEIGHBOURS, Overlap, nearest, nearest_distance, precision_recall
from nf_mnist.metrics.out_of_distribution import SYNTHETIC_OOD, OutOfDistribution, auroc, ood_auroc
from nf_mnist.metrics.pixel_bits import bits_of_pixels, has_pixel_bits
from nf_mnist.metrics.r_hat import largest_r_hat, split_r_hat
from nf_mnist.metrics.sample_quality import Quality, ReferenceImages, alarms
from nf_mnist.metrics.temperature_scan import TemperatureScan, check_temperatures, scan_temperatures

__all__ = [
    "CONFIDENT",
    "N_NEIGHBOURS",
    "SYNTHETIC_OOD",
    "Drawn",
    "Evaluation",
    "Offenders",
    "OutOfDistribution",
    "Overlap",
    "Quality",
    "Radius",
    "ReferenceImages",
    "RoundTrip",
    "Sampling",
    "TemperatureScan",
    "accuracy",
    "alarms",
    "auroc",
    "bits_of_pixels",
    "bits_per_dim",
    "check_classes",
    "check_digits",
    "check_temperatures",
    "chi_moments",
    "class_histogram",
    "class_kl",
    "confident_share",
    "count_parameters",
    "draw_levels",
    "evaluate_flow",
    "expected_calibration_error",
    "frechet_distance",
    "gaussian_frechet_distance",
    "has_bits",
    "has_pixel_bits",
    "label_nats",
    "largest_r_hat",
    "likelihood_unit",
    "log_likelihood_by_class",
    "log_likelihood_without_label",
    "log_mean_exp",
    "moments",
    "nearest",
    "nearest_distance",
    "offenders",
    "ood_auroc",
    "precision_recall",
    "projection_distance",
    "radius",
    "random_projection",
    "round_trip",
    "round_trip_error",
    "sample_labels",
    "scan_temperatures",
    "silent_layers",
    "split_r_hat",
]
