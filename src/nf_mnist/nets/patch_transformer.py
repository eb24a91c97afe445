"""What transformers over the patches of an image share: tokens, labels, blocks, and a last layer of zeros."""

import torch
from torch import Tensor, nn

from nf_mnist.errors import ConfigError
from nf_mnist.nets.attention import TransformerBlock
from nf_mnist.nets.labels import NO_LABEL


class PatchTransformer(nn.Module):
    """Base class of transformers whose tokens are patches, each with a learned position.

    The last layer is zero at first, and so are all predictions.

    Args:
        n_tokens: Number of tokens.
        patch_features: Number of values in a patch.
        features: Width of the tokens.
        n_layers: Number of blocks of attention and perceptron.
        n_heads: Number of heads of each attention.
        out_features: Number of values predicted from a token.
        n_classes: Number of class labels the network is conditioned on; 0 for none.

    Raises:
        ConfigError: If ``features`` is not a multiple of ``n_heads``.
    """

    def __init__(
        self,
        n_tokens: int,
        patch_features: int,
        features: int,
        n_layers: int,
        n_heads: int,
        out_features: int,
        n_classes: int = 0,
    ) -> None:
        super().__init__()
        if features % n_heads:
            raise ConfigError(f"transformer_features={features} must be a multiple of transformer_heads={n_heads}")
        self.proj_in = nn.Linear(patch_features, features)
        self.position = nn.Parameter(0.01 * torch.randn(n_tokens, features))
        self.label = nn.Embedding(n_classes, features) if n_classes else None
        if self.label is not None:
            nn.init.normal_(self.label.weight, std=0.01)
        self.blocks = nn.ModuleList(TransformerBlock(features, n_heads) for _ in range(n_layers))
        self.proj_out = nn.Linear(features, out_features)
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)

    def _embedded(self, patches: Tensor, context: Tensor | None) -> Tensor:
        """Return the tokens of patches with their positions and labels, shape (batch, n_tokens, features)."""
        tokens = self.proj_in(patches) + self.position
        return tokens if context is None else tokens + self._shift(context)

    def _shift(self, context: Tensor) -> Tensor:
        """Return what labels add to the tokens, shape (batch, 1, features)."""
        if self.label is None:
            raise ConfigError("this transformer is not conditioned on anything; leave the context out")
        given = (context != NO_LABEL)[:, None]
        shift = torch.where(given, self.label(context.clamp(min=0)), self.label.weight.mean(0))
        return shift[:, None]
