"""Plain networks that the couplings call; they know nothing of flows."""

from nf_mnist.nets.classifier import Classifier
from nf_mnist.nets.context_resnet import ContextResNet
from nf_mnist.nets.conv_mlp import ConvMLP
from nf_mnist.nets.residual import MLPHead, ResidualBlock, ResidualNet
from nf_mnist.nets.transformer import GroupedTransformer

__all__ = ["Classifier", "ContextResNet", "ConvMLP", "GroupedTransformer", "MLPHead", "ResidualBlock", "ResidualNet"]
