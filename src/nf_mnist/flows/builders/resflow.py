"""The diary's multi-scale coupling flow with residual conditioners.

The diary is the notes of a student whose flow did not work; this project grew out of it. ``resflow`` is not the
residual flow of Chen et al. 2019, whose residual blocks are themselves invertible: here residual networks only compute
scale and shift of affine couplings, as in Real NVP (Dinh et al. 2017).
"""

from nf_mnist.bijectors import AffineCoupling, Bijector, Flatten, Sequential, Shape, Squeeze, make_mask
from nf_mnist.errors import check_range
from nf_mnist.flows.components import MAX_SCALES, Norm, Preprocess, alternating_masks, factor_out_half
from nf_mnist.flows.flow import Flow
from nf_mnist.nets import ResidualNet


def resflow(
    *,
    event_shape: Shape,
    preprocess: Preprocess,
    norm: Norm,
    n_scales: int,
    hidden_channels: int,
    mlp_features: int,
    mask: str,
    scale_activation: str,
) -> Flow:
    """Build scales of ``[C C S C C]``, each followed by factoring out half of the channels; the last one is ``[C C]``.

    C is a coupling and S a squeeze. With three scales the shapes of a 1x28x28 image are 4x14x14 and 8x7x7 where
    channels are factored out, and 4x7x7 in the last scale.

    Args:
        event_shape: (channels, height, width); the sides must halve ``n_scales - 1`` times.
        preprocess: Factory of the first layer; see :func:`~nf_mnist.flows.preprocessing`.
        norm: Factory of the normalisation after each coupling; see :func:`~nf_mnist.flows.normalization`.
        n_scales: Number of scales.
        hidden_channels: Width of the residual blocks.
        mlp_features: Width of the MLP heads; 0 for none.
        mask: ``checkerboard``, or ``stripes`` as in the diary.
        scale_activation: Function that bounds the log-scales; see :class:`~nf_mnist.bijectors.AffineCoupling`.

    Raises:
        SettingError: If a size is out of range.
        ShapeError: If the sides do not halve often enough.
    """
    check_range(1, MAX_SCALES, n_scales=n_scales)
    check_range(1, hidden_channels=hidden_channels)
    check_range(0, mlp_features=mlp_features)

    def couplings(shape: Shape, kept_first: str) -> list[Bijector]:
        layers: list[Bijector] = []
        kept = make_mask(mask, shape)
        for one_mask in alternating_masks(kept if kept_first == "A" else 1 - kept, 2):
            scale_net, shift_net = (ResidualNet(shape, hidden_channels, mlp_features) for _ in range(2))
            layers += [AffineCoupling(one_mask, scale_net, shift_net, scale_activation), *norm(shape)]
        return layers

    def scales(shape: Shape, n_left: int, kept_first: str) -> list[Bijector]:
        if n_left == 1:
            return [*couplings(shape, kept_first), Flatten(shape)]
        squeeze = Squeeze(shape)
        rest = factor_out_half(squeeze.event_shape_out, lambda half: scales(half, n_left - 1, "B"))
        return [
            *couplings(shape, kept_first),
            squeeze,
            *couplings(squeeze.event_shape_out, "B"),
            rest,
        ]

    return Flow(Sequential([preprocess(event_shape), *scales(tuple(event_shape), n_scales, "A")]), event_shape)
