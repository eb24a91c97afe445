"""A causal transformer over the patches of an image, which also predicts patch by patch with cached keys and values."""

from collections.abc import Callable

import torch
from torch import Tensor

from nf_mnist.errors import ConfigError
from nf_mnist.nets.attention import KeyValueCache
from nf_mnist.nets.patch_transformer import PatchTransformer

NextPrediction = Callable[[Tensor], Tensor]


class CausalTransformer(PatchTransformer):
    """Predict, for each patch but the first, some values from all patches before it (Zhai et al. 2024, section 2.2).

    Args:
        n_patches: Number of patches, at least 2.
        patch_features: Number of values in a patch.
        features: Width of the tokens.
        n_layers: Number of blocks of attention and perceptron.
        n_heads: Number of heads of each attention.
        out_features: Number of values predicted for a patch.
        n_classes: Number of class labels the network is conditioned on; 0 for none.

    Raises:
        ConfigError: If ``features`` is not a multiple of ``n_heads``, or there is only one patch.
    """

    hidden: Tensor

    def __init__(
        self,
        n_patches: int,
        patch_features: int,
        features: int,
        n_layers: int,
        n_heads: int,
        out_features: int,
        n_classes: int = 0,
    ) -> None:
        if n_patches < 2:
            raise ConfigError("an image of one patch leaves nothing to predict; use a smaller patch_size")
        n_tokens = n_patches - 1  # the last patch predicts nothing
        super().__init__(n_tokens, patch_features, features, n_layers, n_heads, out_features, n_classes)
        self.register_buffer("hidden", torch.ones(n_tokens, n_tokens, dtype=torch.bool).triu(1), persistent=False)

    def forward(self, patches: Tensor, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Return the predictions for all patches but the first, shape (batch, n_patches - 1, out_features).

        Args:
            patches: Shape (batch, n_patches, patch_features), or without the last patch.
            context: Labels, shape (batch,); :data:`NO_LABEL` stands for the mean over the classes.
            temperature: Divisor of the logits of all attentions.

        Raises:
            ConfigError: If there is a context and the network was built without classes.
        """
        tokens = self._embedded(patches[:, : len(self.position)], context)
        for block in self.blocks:
            tokens = block(tokens, self.hidden, temperature)
        return self.proj_out(tokens)

    def next_prediction(self, context: Tensor | None = None, temperature: float = 1.0) -> NextPrediction:
        """Return a function that takes the patches in order, one per call, each of shape (batch, patch_features).

        Each call returns the prediction for the next patch, shape (batch, out_features), as :meth:`forward` does. Keys
        and values of earlier patches are cached, so a call costs one token.
        """
        caches = [KeyValueCache() for _ in self.blocks]
        shift = 0.0 if context is None else self._shift(context)
        positions = iter(self.position)

        def predict(patch: Tensor) -> Tensor:
            tokens = self.proj_in(patch[:, None]) + next(positions) + shift
            for block, cache in zip(self.blocks, caches, strict=True):
                tokens = block(tokens, None, temperature, cache)
            return self.proj_out(tokens[:, 0])

        return predict
