"""The flows of the UvA deep learning tutorial on image modelling (tutorial 11, P. Lippe), and its dequantization flow.

Couplings bound the log-scale by a learned tanh, and networks have three gated residual blocks. Elements are scaled and
then shifted; the tutorial shifts first, which gives the same maps with other parameters.
"""

from collections.abc import Sequence

from nf_mnist.bijectors import AffineCoupling, Bijector, Flatten, LearnedTanh, Sequential, Shape, Squeeze, make_mask
from nf_mnist.errors import ConfigError, check_range
from nf_mnist.flows.components import Norm, Preprocess, alternating_masks, factor_out_half
from nf_mnist.flows.flow import Flow
from nf_mnist.nets import GatedResNet

N_BLOCKS = 3


def uva(
    *,
    event_shape: Shape,
    preprocess: Preprocess,
    norm: Norm,
    n_couplings_at: Sequence[int],
    hidden_channels_at: Sequence[int],
    n_classes: int,
) -> Flow:
    """Build checkerboard couplings at full resolution, and a squeeze and channel couplings at each further scale.

    Half of the channels are factored out between the further scales. One scale is the tutorial's simple flow, three are
    its multi-scale flow.

    Args:
        event_shape: (channels, height, width); with n scales, the sides must halve n - 1 times.
        preprocess: Factory of the first layer; see :func:`~nf_mnist.flows.preprocessing`.
        norm: Factory of the normalisation after each coupling; see :func:`~nf_mnist.flows.normalization`.
        n_couplings_at: Number of couplings at each scale.
        hidden_channels_at: Width of the networks at each scale.
        n_classes: Number of class labels that condition everything; 0 for none.

    Raises:
        ConfigError: If the two lists differ in length, are empty, or a number of couplings is negative.
        ShapeError: If the sides do not halve often enough.
    """
    check_range(0, n_classes=n_classes)
    if not n_couplings_at or len(n_couplings_at) != len(hidden_channels_at):
        raise ConfigError(
            "n_couplings_at and hidden_channels_at need one number for each scale, at least one, got "
            f"{list(n_couplings_at)} and {list(hidden_channels_at)}"
        )
    if min(n_couplings_at) < 0:
        raise ConfigError(f"n_couplings_at must be 0 or more at each scale, got {list(n_couplings_at)}")
    first, *others = zip(n_couplings_at, hidden_channels_at, strict=True)

    def scales(shape: Shape, sizes: list[tuple[int, int]]) -> list[Bijector]:
        if not sizes:
            return [Flatten(shape)]
        squeeze = Squeeze(shape)
        squeezed = squeeze.event_shape_out
        layers = [squeeze, *_couplings("channel", squeezed, *sizes[0], norm, n_classes)]
        if len(sizes) == 1:
            return [*layers, Flatten(squeezed)]
        return [*layers, factor_out_half(squeezed, lambda half: scales(half, sizes[1:]))]

    layers = [*_couplings("checkerboard", event_shape, *first, norm, n_classes), *scales(event_shape, others)]
    return Flow(Sequential([preprocess(event_shape), *layers]), event_shape, n_classes)


def uva_noise(*, event_shape: Shape, n_couplings: int, hidden_channels: int) -> Bijector:
    """Build the flow for variational dequantization: checkerboard couplings on noise, conditioned on an image.

    Args:
        event_shape: (channels, height, width) of the noise and of the image.
        n_couplings: Number of couplings.
        hidden_channels: Width of the networks.
    """
    check_range(1, n_couplings=n_couplings, hidden_channels=hidden_channels)
    channels = event_shape[0]
    return Sequential(_couplings("checkerboard", event_shape, n_couplings, hidden_channels, context_channels=channels))


def _couplings(
    kind: str,
    shape: Shape,
    n: int,
    hidden_channels: int,
    norm: Norm = lambda shape: [],
    n_classes: int = 0,
    context_channels: int = 0,
) -> list[Bijector]:
    """Return n couplings with alternating masks; the context is labels or an image of ``context_channels``."""
    channels = shape[0]
    layers: list[Bijector] = []
    for mask in alternating_masks(make_mask(kind, shape), n):
        net = GatedResNet(channels + context_channels, hidden_channels, N_BLOCKS, 2 * channels, n_classes)
        layers += [AffineCoupling(mask, net, scale_activation=LearnedTanh(channels)), *norm(shape)]
    return layers
