"""Plain networks that the couplings call; they know nothing of flows."""

from nf_mnist.nets.conv_mlp import ConvMLP
from nf_mnist.nets.gated_resnet import GatedResNet
from nf_mnist.nets.residual import MLPHead, ResidualBlock, ResidualNet
from nf_mnist.nets.transformer import GroupedTransformer

__all__ = ["ConvMLP", "GatedResNet", "GroupedTransformer", "MLPHead", "ResidualBlock", "ResidualNet"]
