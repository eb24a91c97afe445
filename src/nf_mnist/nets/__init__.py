"""Plain networks that couplings call as conditioners; they know nothing of flows."""

from nf_mnist.nets.causal_transformer import CausalTransformer
from nf_mnist.nets.classifier import Classifier
from nf_mnist.nets.context_resnet import ContextResNet
from nf_mnist.nets.contractive import ContractiveNet, SpectralConv
from nf_mnist.nets.conv_mlp import ConvMLP
from nf_mnist.nets.gated_resnet import GatedResNet
from nf_mnist.nets.glow_conv import GlowConv, ZeroConv
from nf_mnist.nets.guided import GuidedTransformer, GuidedVelocity, LabelledVelocity
from nf_mnist.nets.labels import NO_LABEL, hide_labels
from nf_mnist.nets.masked_mlp import MaskedMLP
from nf_mnist.nets.mlp import MLP
from nf_mnist.nets.preactivation import PreactivationResNet
from nf_mnist.nets.residual import MLPHead, ResidualBlock, ResidualNet
from nf_mnist.nets.transformer import GroupedTransformer
from nf_mnist.nets.velocity_unet import VelocityUNet
from nf_mnist.nets.vision_transformer import VisionTransformer

__all__ = [
    "MLP",
    "NO_LABEL",
    "CausalTransformer",
    "Classifier",
    "ContextResNet",
    "ContractiveNet",
    "ConvMLP",
    "GatedResNet",
    "GlowConv",
    "GroupedTransformer",
    "GuidedTransformer",
    "GuidedVelocity",
    "LabelledVelocity",
    "MLPHead",
    "MaskedMLP",
    "PreactivationResNet",
    "ResidualBlock",
    "ResidualNet",
    "SpectralConv",
    "VelocityUNet",
    "VisionTransformer",
    "ZeroConv",
    "hide_labels",
]
