"""Densities on images: :class:`Flow`, and the builders of :mod:`nf_mnist.flows.builders`."""

from nf_mnist.flows.builders.conditional import conditional
from nf_mnist.flows.builders.cp3 import cp3
from nf_mnist.flows.builders.ffjord import ffjord
from nf_mnist.flows.builders.flow_matching import flow_matching
from nf_mnist.flows.builders.glow import glow
from nf_mnist.flows.builders.hierarchical import hierarchical
from nf_mnist.flows.builders.jet import jet
from nf_mnist.flows.builders.maf import maf
from nf_mnist.flows.builders.nice import nice
from nf_mnist.flows.builders.realnvp import realnvp
from nf_mnist.flows.builders.resflow import resflow
from nf_mnist.flows.builders.residual_flow import residual_flow
from nf_mnist.flows.builders.spline import spline
from nf_mnist.flows.builders.tarflow import tarflow
from nf_mnist.flows.builders.uva import uva, uva_noise
from nf_mnist.flows.components import normalization, preprocessing
from nf_mnist.flows.conditional_flow import ConditionalFlow, observed_image, teacher_forced
from nf_mnist.flows.continuous_flow import ContinuousFlow, RegularizedFlow
from nf_mnist.flows.flow import Flow
from nf_mnist.flows.patch_flow import PatchFlow
from nf_mnist.flows.standard_normal import StandardNormal
from nf_mnist.flows.velocity_matching import FlowMatching

__all__ = [
    "ConditionalFlow",
    "ContinuousFlow",
    "Flow",
    "FlowMatching",
    "PatchFlow",
    "RegularizedFlow",
    "StandardNormal",
    "conditional",
    "cp3",
    "ffjord",
    "flow_matching",
    "glow",
    "hierarchical",
    "jet",
    "maf",
    "nice",
    "normalization",
    "observed_image",
    "preprocessing",
    "realnvp",
    "resflow",
    "residual_flow",
    "spline",
    "tarflow",
    "teacher_forced",
    "uva",
    "uva_noise",
]
