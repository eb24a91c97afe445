"""How good samples are, by what the released classifier sees of them, beside what real images would score."""

from nf_mnist.quality.digits import CONFIDENT, check_digits, class_histogram, class_kl, confident_share
from nf_mnist.quality.draws import Drawn, draw_levels
from nf_mnist.quality.frechet import frechet_distance, gaussian_frechet_distance
from nf_mnist.quality.neighbours import N_NEIGHBOURS, Overlap, nearest_distance, precision_recall
from nf_mnist.quality.reference import Quality, Reference, alarms
from nf_mnist.quality.sweep import Sweep, check_temperatures, sweep

__all__ = [
    "CONFIDENT",
    "N_NEIGHBOURS",
    "Drawn",
    "Overlap",
    "Quality",
    "Reference",
    "Sweep",
    "alarms",
    "check_digits",
    "check_temperatures",
    "class_histogram",
    "class_kl",
    "confident_share",
    "draw_levels",
    "frechet_distance",
    "gaussian_frechet_distance",
    "nearest_distance",
    "precision_recall",
    "sweep",
]
