"""Inpainting: what may stand in the hidden part of an image, given the rest."""

from nf_mnist.inpainting.amortized import amortized
from nf_mnist.inpainting.convergence import largest_r_hat, split_r_hat
from nf_mnist.inpainting.crank_nicolson import crank_nicolson
from nf_mnist.inpainting.logits import Completions
from nf_mnist.inpainting.masks import HIDDEN, check_observed, corrupt, make_observed
from nf_mnist.inpainting.modes import logit_adam, logit_ascent, mode, pixel_ascent
from nf_mnist.inpainting.posterior import posterior
from nf_mnist.inpainting.quick import completes_quickly, quick_completions
from nf_mnist.inpainting.scores import Measured, measure, scores

__all__ = [
    "HIDDEN",
    "Completions",
    "Measured",
    "amortized",
    "check_observed",
    "completes_quickly",
    "corrupt",
    "crank_nicolson",
    "largest_r_hat",
    "logit_adam",
    "logit_ascent",
    "make_observed",
    "measure",
    "mode",
    "pixel_ascent",
    "posterior",
    "quick_completions",
    "scores",
    "split_r_hat",
]
