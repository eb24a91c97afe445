"""Neural spline flows on images (Durkan et al. 2019, "Neural spline flows", section 5)."""

from nf_mnist.bijectors import Bijector, Sequential, Shape, SplineCoupling, make_mask
from nf_mnist.errors import check_range
from nf_mnist.flows.builders.glow import glow_scales
from nf_mnist.flows.components import MAX_SCALES, Norm, Preprocess
from nf_mnist.flows.flow import Flow
from nf_mnist.nets import PreactivationResNet


def spline(
    *,
    event_shape: Shape,
    preprocess: Preprocess,
    norm: Norm,
    n_scales: int,
    n_steps: int,
    hidden_channels: int,
    n_blocks: int,
    n_bins: int,
    bound: float,
    n_classes: int,
) -> Flow:
    """Build Glow's scales and steps with rational-quadratic spline couplings and residual networks.

    Args:
        event_shape: (channels, height, width); the sides must halve ``n_scales`` times.
        preprocess: Factory of the first layer; see :func:`~nf_mnist.flows.preprocessing`.
        norm: Factory of the normalisation that opens each step; splines bend only values inside their bound.
        n_scales: Number of scales.
        n_steps: Number of steps at each scale.
        hidden_channels: Width of the residual blocks.
        n_blocks: Number of residual blocks in each network.
        n_bins: Number of bins of each spline.
        bound: Absolute value beyond which splines are the identity.
        n_classes: Number of class labels that condition everything; 0 for none.

    Raises:
        ConfigError: If ``n_bins`` or ``bound`` is out of range; see :class:`~nf_mnist.bijectors.SplineCoupling`.
        ShapeError: If the sides do not halve often enough.
    """
    check_range(0, MAX_SCALES, n_scales=n_scales)
    check_range(1, n_steps=n_steps, hidden_channels=hidden_channels, n_bins=n_bins)
    check_range(0, n_blocks=n_blocks, n_classes=n_classes)

    def coupling(shape: Shape) -> Bijector:
        net = PreactivationResNet(shape[0], hidden_channels, n_blocks, (3 * n_bins - 1) * shape[0], n_classes)
        return SplineCoupling(make_mask("channel", shape), net, n_bins, bound)

    scales = glow_scales(tuple(event_shape), n_scales, n_steps, norm, coupling, prior=lambda shape: [])
    return Flow(Sequential([preprocess(event_shape), *scales]), event_shape, n_classes)
