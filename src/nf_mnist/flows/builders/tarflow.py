"""TarFlow (Zhai et al. 2024, "Normalizing flows are capable generative models", arXiv:2412.06329)."""

from nf_mnist.bijectors import Patches, Shape
from nf_mnist.errors import check_range
from nf_mnist.flows.components import Preprocess
from nf_mnist.flows.patch_flow import PatchFlow
from nf_mnist.nets import CausalTransformer


def tarflow(
    *,
    event_shape: Shape,
    preprocess: Preprocess,
    patch_size: int,
    n_autoregressions: int,
    transformer_features: int,
    transformer_blocks: int,
    transformer_heads: int,
    n_classes: int,
    label_dropout: float,
) -> PatchFlow:
    """Build affine autoregressions over patches, each with a causal transformer, in alternating order.

    The density takes one pass. A sample takes one step per patch and autoregression, with cached keys and values. What
    the paper calls a block is an autoregression here, and its layers are the transformer's blocks.

    Args:
        event_shape: (channels, height, width).
        preprocess: Factory of the first layer; see :func:`~nf_mnist.flows.preprocessing`. The paper's is ``symmetric``.
        patch_size: Side of a patch in pixels; it must divide the sides of the image.
        n_autoregressions: Number of autoregressions.
        transformer_features: Width of the tokens.
        transformer_blocks: Number of blocks of each transformer.
        transformer_heads: Number of heads of each attention.
        n_classes: Number of class labels that condition everything; 0 for none.
        label_dropout: Share of the training images whose label is hidden; see :class:`~nf_mnist.flows.PatchFlow`.

    Raises:
        SettingError: If a size is out of range.
        ConfigError: If the width of the tokens is not a multiple of the number of heads.
        ShapeError: If patches do not tile the image.
    """
    check_range(1, patch_size=patch_size, n_autoregressions=n_autoregressions, transformer_blocks=transformer_blocks)
    check_range(1, transformer_features=transformer_features, transformer_heads=transformer_heads)
    check_range(0, n_classes=n_classes)
    patches = Patches(event_shape, patch_size)
    n_patches, patch_features = patches.event_shape_out
    nets = [
        CausalTransformer(
            n_patches,
            patch_features,
            transformer_features,
            transformer_blocks,
            transformer_heads,
            2 * patch_features,
            n_classes,
        )
        for _ in range(n_autoregressions)
    ]
    return PatchFlow(preprocess(event_shape), patches, nets, event_shape, n_classes, label_dropout)
