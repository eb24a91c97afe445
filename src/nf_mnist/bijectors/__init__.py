"""Invertible maps with log-determinants, one family per file; all follow the contract of :class:`Bijector`."""

from nf_mnist.bijectors.actnorm import ActNorm
from nf_mnist.bijectors.base import Bijector, Shape
from nf_mnist.bijectors.batchnorm import BatchNorm
from nf_mnist.bijectors.continuous import ContinuousMap
from nf_mnist.bijectors.coupling import AdditiveCoupling, AffineCoupling, LearnedTanh, MaskedCoupling
from nf_mnist.bijectors.discretized_logistic import NeighbourPixel, n_parameters
from nf_mnist.bijectors.gaussianize import MarginalGaussianization
from nf_mnist.bijectors.given_label import GivenLabel
from nf_mnist.bijectors.grouped_mixture import GroupedMixture
from nf_mnist.bijectors.inverse import Inverse
from nf_mnist.bijectors.invertible_conv import InvertibleConv
from nf_mnist.bijectors.invertible_residual import InvertibleResidual, LogDetSeries
from nf_mnist.bijectors.logit import Logit
from nf_mnist.bijectors.masked_autoregression import AffineMap, ElementMap, MaskedAutoregression
from nf_mnist.bijectors.masks import make_mask
from nf_mnist.bijectors.mixture_coupling import DiscretizedMixture
from nf_mnist.bijectors.observed_pixels import ObservedPixels
from nf_mnist.bijectors.ode import OdeSolver
from nf_mnist.bijectors.patches import PatchAutoregression, Patches
from nf_mnist.bijectors.permute import Permutation, random_order
from nf_mnist.bijectors.pixel_grid import PixelGrid
from nf_mnist.bijectors.rescale import Rescale
from nf_mnist.bijectors.reshape import FactorOut, Flatten, Squeeze
from nf_mnist.bijectors.scaling import LogisticToNormal, Scaling
from nf_mnist.bijectors.sequential import Sequential
from nf_mnist.bijectors.spline import SplineCoupling, SplineMap

__all__ = [
    "ActNorm",
    "AdditiveCoupling",
    "AffineCoupling",
    "AffineMap",
    "BatchNorm",
    "Bijector",
    "ContinuousMap",
    "DiscretizedMixture",
    "ElementMap",
    "FactorOut",
    "Flatten",
    "GivenLabel",
    "GroupedMixture",
    "Inverse",
    "InvertibleConv",
    "InvertibleResidual",
    "LearnedTanh",
    "LogDetSeries",
    "LogisticToNormal",
    "Logit",
    "MarginalGaussianization",
    "MaskedAutoregression",
    "MaskedCoupling",
    "NeighbourPixel",
    "ObservedPixels",
    "OdeSolver",
    "PatchAutoregression",
    "Patches",
    "Permutation",
    "PixelGrid",
    "Rescale",
    "Scaling",
    "Sequential",
    "Shape",
    "SplineCoupling",
    "SplineMap",
    "Squeeze",
    "make_mask",
    "n_parameters",
    "random_order",
]
