"""Plain networks that couplings call as conditioners; they know nothing of flows."""

from nf_mnist.nets.causal_transformer import NO_LABEL, CausalTransformer
from nf_mnist.nets.classifier import Classifier
from nf_mnist.nets.context_resnet import ContextResNet
from nf_mnist.nets.conv_mlp import ConvMLP
from nf_mnist.nets.gated_resnet import GatedResNet
from nf_mnist.nets.glow_conv import GlowConv, ZeroConv
from nf_mnist.nets.guided import GuidedTransformer
from nf_mnist.nets.masked_mlp import MaskedMLP
from nf_mnist.nets.mlp import MLP
from nf_mnist.nets.preactivation import PreactivationResNet
from nf_mnist.nets.residual import MLPHead, ResidualBlock, ResidualNet
from nf_mnist.nets.transformer import GroupedTransformer

__all__ = [
    "MLP",
    "NO_LABEL",
    "CausalTransformer",
    "Classifier",
    "ContextResNet",
    "ConvMLP",
    "GatedResNet",
    "GlowConv",
    "GroupedTransformer",
    "GuidedTransformer",
    "MLPHead",
    "MaskedMLP",
    "PreactivationResNet",
    "ResidualBlock",
    "ResidualNet",
    "ZeroConv",
]
