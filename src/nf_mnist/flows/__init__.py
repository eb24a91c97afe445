"""Densities on images: :class:`Flow`, and one builder a file."""

from nf_mnist.flows.components import normalization, preprocessing
from nf_mnist.flows.conditional import ConditionalFlow, conditional
from nf_mnist.flows.cp3 import cp3
from nf_mnist.flows.flow import Flow, StandardNormal
from nf_mnist.flows.glow import glow
from nf_mnist.flows.hierarchical import hierarchical
from nf_mnist.flows.nice import nice
from nf_mnist.flows.realnvp import realnvp
from nf_mnist.flows.resflow import resflow
from nf_mnist.flows.spline import spline
from nf_mnist.flows.uva import uva, uva_noise

__all__ = [
    "ConditionalFlow",
    "Flow",
    "StandardNormal",
    "conditional",
    "cp3",
    "glow",
    "hierarchical",
    "nice",
    "normalization",
    "preprocessing",
    "realnvp",
    "resflow",
    "spline",
    "uva",
    "uva_noise",
]
