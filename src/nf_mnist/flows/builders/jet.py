"""Jet (Kolesnikov et al. 2024, "Jet: a modern transformer-based normalizing flow", arXiv:2412.15129)."""

from collections.abc import Sequence

from torch import Tensor

from nf_mnist.bijectors import AffineCoupling, Flatten, Patches, Sequential, Shape, make_mask, random_order
from nf_mnist.errors import ConfigError, check_range
from nf_mnist.flows.components import Preprocess
from nf_mnist.flows.flow import Flow
from nf_mnist.nets import VisionTransformer


def jet(
    *,
    event_shape: Shape,
    preprocess: Preprocess,
    patch_size: int,
    n_couplings: int,
    splits: Sequence[str],
    transformer_features: int,
    transformer_blocks: int,
    transformer_heads: int,
    scale_activation: str,
    n_classes: int,
) -> Flow:
    """Build affine couplings of patches, each with a vision transformer; there is no normalisation and one scale.

    A channel split keeps a random half of the values of every patch; a spatial split keeps every second patch, as on a
    checkerboard, and the next one keeps the others. Transformers see the values that a coupling transforms as zeros.
    The authors' leave them out, and cut the patches that a spatial split keeps in two; here the number of patches may
    be odd. Elements are scaled and then shifted, while the paper shifts first.

    Args:
        event_shape: (channels, height, width).
        preprocess: Factory of the first layer; see :func:`~nf_mnist.flows.preprocessing`.
        patch_size: Side of a patch in pixels; it must divide the sides of the image.
        n_couplings: Number of couplings.
        splits: Kinds of the couplings in turn, ``channel`` or ``spatial``; they begin again after the last.
        transformer_features: Width of the tokens.
        transformer_blocks: Number of blocks of each transformer.
        transformer_heads: Number of heads of each attention.
        scale_activation: Bounds the log-scales; the paper's is ``twice_sigmoid``. See
            :class:`~nf_mnist.bijectors.AffineCoupling`.
        n_classes: Number of class labels that condition everything; 0 for none.

    Raises:
        SettingError: If a size is out of range.
        ConfigError: If a split is unknown or has nothing to split, or the width of the tokens is not a multiple of the
            number of heads.
        ShapeError: If patches do not tile the image.
    """
    check_range(1, patch_size=patch_size, n_couplings=n_couplings, transformer_blocks=transformer_blocks)
    check_range(1, transformer_features=transformer_features, transformer_heads=transformer_heads)
    check_range(0, n_classes=n_classes)
    patches = Patches(event_shape, patch_size)
    sizes = (*patches.event_shape_out, transformer_features, transformer_blocks, transformer_heads)
    couplings = [
        AffineCoupling(mask, VisionTransformer(*sizes, 2, n_classes), scale_activation=scale_activation)
        for mask in _masks(patches, splits, n_couplings)
    ]
    layers = [preprocess(event_shape), patches, *couplings, Flatten(patches.event_shape_out)]
    return Flow(Sequential(layers), event_shape, n_classes)


def _masks(patches: Patches, splits: Sequence[str], n_couplings: int) -> list[Tensor]:
    """Return the mask of each coupling, shape (n_patches, patch_features)."""
    shape = n_patches, patch_features = patches.event_shape_out
    if not splits or set(splits) - {"channel", "spatial"}:
        raise ConfigError(f"splits must be a list of channel and spatial, got {splits!r}")
    if "channel" in splits and patch_features == 1:
        raise ConfigError("patches of one value have no channels to split; use a larger patch_size or splits=[spatial]")
    if "spatial" in splits and n_patches == 1:
        raise ConfigError("an image of one patch cannot be split; use a smaller patch_size or splits=[channel]")
    kept_values, kept_patches = make_mask("halves", (patch_features,)), make_mask("checkerboard", (1, *patches.grid))
    masks: list[Tensor] = []
    for i in range(n_couplings):
        if splits[i % len(splits)] == "channel":
            mask = kept_values[random_order(patch_features, seed=i)]
        else:
            mask = kept_patches.reshape(-1, 1)
            kept_patches = 1 - kept_patches
        masks.append(mask.expand(shape).clone())
    return masks
