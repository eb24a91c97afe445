"""Inpainting: which pixels an image may have in its hidden part, given the observed part."""

from nf_mnist.inpainting.budgeted import budgeted_completions, has_budgeted_method
from nf_mnist.inpainting.logits import Completions
from nf_mnist.inpainting.masks import HIDDEN, check_observed, corrupt, make_observed
from nf_mnist.inpainting.methods.amortized import amortized
from nf_mnist.inpainting.methods.crank_nicolson import crank_nicolson
from nf_mnist.inpainting.methods.modes import logit_adam, logit_ascent, mode, pixel_ascent
from nf_mnist.inpainting.methods.posterior import posterior
from nf_mnist.inpainting.methods.replacement import replacement
from nf_mnist.inpainting.scoring import ScoredCompletions, measure, scores

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
    "logit_adam",
    "logit_ascent",
    "make_observed",
    "measure",
    "mode",
    "pixel_ascent",
    "posterior",
    "replacement",
    "scores",
]
