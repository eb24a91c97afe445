"""Inpainting: what may stand in the hidden part of an image, given the rest."""

from nf_mnist.inpainting.amortized import amortized
from nf_mnist.inpainting.budgeted import budgeted_completions, has_budgeted_method
from nf_mnist.inpainting.crank_nicolson import crank_nicolson
from nf_mnist.inpainting.logits import Completions
from nf_mnist.inpainting.masks import HIDDEN, check_observed, corrupt, make_observed
from nf_mnist.inpainting.modes import logit_adam, logit_ascent, mode, pixel_ascent
from nf_mnist.inpainting.posterior import posterior
from nf_mnist.inpainting.scores import ScoredCompletions, measure, scores
from nf_mnist.metrics.r_hat import largest_r_hat, split_r_hat

__all__ = [
    "HIDDEN",
    "Completions",
    "ScoredCompletions",
    "amortized",
    "budgeted_completions",
    "check_observed",
    "corrupt",
    "crank_nicolson",
    "has_budgeted_method",
    "largest_r_hat",
    "logit_adam",
    "logit_ascent",
    "make_observed",
    "measure",
    "mode",
    "pixel_ascent",
    "posterior",
    "scores",
    "split_r_hat",
]
