"""Callbacks: each shows one view of a flow or guards one property; :mod:`nf_mnist.plots` draws the pictures."""

from nf_mnist.training.callbacks.averaging import AverageWeights
from nf_mnist.training.callbacks.cores import ShareCores
from nf_mnist.training.callbacks.divergence import SkipBadSteps, StopOnDivergence
from nf_mnist.training.callbacks.health import LogHealth
from nf_mnist.training.callbacks.images import LogRoundTrip, LogSamples
from nf_mnist.training.callbacks.inpainting import LogInpainting
from nf_mnist.training.callbacks.latent import LogLatentMoments, LogLatentProjection, LogLatentRadius
from nf_mnist.training.callbacks.progress import RunProgress
from nf_mnist.training.callbacks.quality import LogQuality
from nf_mnist.training.callbacks.resumable import SaveBest, SaveResumable
from nf_mnist.training.callbacks.statistics import RecomputeStatistics
from nf_mnist.training.callbacks.store_config import StoreConfig

__all__ = [
    "AverageWeights",
    "LogHealth",
    "LogInpainting",
    "LogLatentMoments",
    "LogLatentProjection",
    "LogLatentRadius",
    "LogQuality",
    "LogRoundTrip",
    "LogSamples",
    "RecomputeStatistics",
    "RunProgress",
    "SaveBest",
    "SaveResumable",
    "ShareCores",
    "SkipBadSteps",
    "StopOnDivergence",
    "StoreConfig",
]
