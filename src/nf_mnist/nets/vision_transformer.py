"""A vision transformer, whose tokens all see each other (Dosovitskiy et al. 2021, "An image is worth 16x16 words")."""

import torch
from torch import Tensor, nn

from nf_mnist.nets.patch_transformer import PatchTransformer


class VisionTransformer(PatchTransformer):
    """Predict some numbers for each value of each patch, from all patches.

    Predictions are zero before training.

    Args:
        n_patches: Number of patches.
        patch_features: Number of values in a patch.
        features: Width of the tokens.
        n_layers: Number of blocks of attention and perceptron.
        n_heads: Number of heads of each attention.
        n_predicted: How many numbers are predicted for a value.
        n_classes: Number of class labels the network is conditioned on; 0 for none.

    Raises:
        ConfigError: If ``features`` is not a multiple of ``n_heads``.
    """

    def __init__(
        self,
        n_patches: int,
        patch_features: int,
        features: int,
        n_layers: int,
        n_heads: int,
        n_predicted: int,
        n_classes: int = 0,
    ) -> None:
        super().__init__(
            n_patches, patch_features, features, n_layers, n_heads, n_predicted * patch_features, n_classes
        )
        self.n_predicted = n_predicted
        self.norm = nn.LayerNorm(features)

    def forward(self, patches: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the predictions, shape (batch, n_predicted * n_patches, patch_features).

        The first prediction for all values of all patches comes first, then the second, and so on.

        Args:
            patches: Shape (batch, n_patches, patch_features).
            context: Labels, shape (batch,); :data:`NO_LABEL` stands for the mean over the classes.

        Raises:
            ConfigError: If there is a context and the network was built without classes.
        """
        tokens = self._embedded(patches, context)
        for block in self.blocks:
            tokens = block(tokens)
        return torch.cat(self.proj_out(self.norm(tokens)).chunk(self.n_predicted, -1), 1)
