"""Densities on images: :class:`Flow`, and one builder a file."""

from nf_mnist.flows.conditional import ConditionalFlow, conditional
from nf_mnist.flows.cp3 import cp3
from nf_mnist.flows.flow import Flow, StandardNormal
from nf_mnist.flows.hierarchical import hierarchical
from nf_mnist.flows.parts import normalization, preprocessing
from nf_mnist.flows.resflow import resflow

__all__ = [
    "ConditionalFlow",
    "Flow",
    "StandardNormal",
    "conditional",
    "cp3",
    "hierarchical",
    "normalization",
    "preprocessing",
    "resflow",
]
