"""A transformer over the pixels of a small image, causal between groups of pixels."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nf_mnist.errors import ConfigError


class Attention(nn.Module):
    """Multi-head attention of queries to keys and values, written as matmul and softmax.

    On a CPU in bf16 the fused ``scaled_dot_product_attention`` is many times slower at this number of tokens.
    """

    def __init__(self, features: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.query = nn.Linear(features, features)
        self.key_value = nn.Linear(features, 2 * features)
        self.out = nn.Linear(features, features)

    def forward(self, queries: Tensor, content: Tensor, allowed: Tensor) -> Tensor:
        query = self._heads(self.query(queries))
        key, value = (self._heads(part) for part in self.key_value(content).chunk(2, -1))
        scores = (query @ key.transpose(-1, -2)) / math.sqrt(query.shape[-1])
        scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
        weights = scores.softmax(-1) * allowed  # a row without content attends to nothing
        return self.out((weights @ value).transpose(1, 2).flatten(2))

    def _heads(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """Attention and a two-layer perceptron, each normalised before and added after (Xiong et al. 2020)."""

    def __init__(self, features: int, n_heads: int) -> None:
        super().__init__()
        self.before_attention, self.before_mlp = nn.LayerNorm(features), nn.LayerNorm(features)
        self.attention = Attention(features, n_heads)
        self.mlp = nn.Sequential(nn.Linear(features, 4 * features), nn.GELU(), nn.Linear(4 * features, features))

    def forward(self, tokens: Tensor, content: Tensor, allowed: Tensor) -> Tensor:
        tokens = tokens + self.attention(self.before_attention(tokens), self.before_attention(content), allowed)
        return tokens + self.mlp(self.before_mlp(tokens))


class GroupedTransformer(nn.Module):
    """Predict each pixel from all pixels of earlier groups, in one pass.

    Two streams, as in XLNet (Yang et al. 2019, section 2.3): content tokens hold position and value and attend to
    their own and earlier groups; query tokens hold the position alone and attend to earlier groups only.

    Args:
        groups: Group of each pixel, shape (height, width).
        in_channels: Features of a pixel.
        features: Width of the tokens.
        n_blocks: Number of blocks.
        n_heads: Heads of each attention.
        out_channels: Numbers predicted for a pixel.
        n_classes: Number of class labels the network is conditioned on; 0 for none.
        condition: Maps the image that the network is conditioned on instead to one of ``features`` channels, which is
            added to the tokens. It must see all of the image: tokens of the first group attend to nothing. None: the
            network is not conditioned on an image.

    Raises:
        ConfigError: If the width of the tokens is no multiple of the heads.
    """

    sees_own: Tensor
    sees_earlier: Tensor

    def __init__(
        self,
        groups: Tensor,
        in_channels: int,
        features: int,
        n_blocks: int,
        n_heads: int,
        out_channels: int,
        n_classes: int = 0,
        condition: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if features % n_heads:
            raise ConfigError(f"transformer_features={features} must be a multiple of transformer_heads={n_heads}")
        flat = groups.flatten()
        self.register_buffer("sees_own", flat[:, None] >= flat[None], persistent=False)
        self.register_buffer("sees_earlier", flat[:, None] > flat[None], persistent=False)
        self.position = nn.Parameter(0.02 * torch.randn(len(flat), features))
        self.query_position = nn.Parameter(0.02 * torch.randn(len(flat), features))
        self.proj_in = nn.Linear(in_channels, features)
        self.label = nn.Embedding(n_classes, features) if n_classes else None
        if self.label is not None:
            nn.init.zeros_(self.label.weight)
        self.condition = condition
        self.blocks = nn.ModuleList(Block(features, n_heads) for _ in range(n_blocks))
        self.proj_out = nn.Linear(features, out_channels)
        nn.init.zeros_(self.proj_out.weight)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map (batch, in_channels, height, width) to (batch, out_channels, height, width).

        The context is labels, shape (batch,), or what ``condition`` takes, shape (batch, channels, height, width).
        """
        content = self.proj_in(_tokens(x)) + self.position
        queries = self.query_position.expand(len(x), -1, -1)
        if context is not None:
            if self.label is not None:
                shift = self.label(context)[:, None]
            elif self.condition is not None:
                shift = _tokens(self.condition(context))
            content, queries = content + shift, queries + shift
        for block in self.blocks:
            queries = block(queries, content, self.sees_earlier)
            content = block(content, content, self.sees_own)
        predicted = self.proj_out(F.gelu(queries))
        return predicted.transpose(1, 2).unflatten(2, x.shape[2:])


def _tokens(x: Tensor) -> Tensor:
    """Turn (batch, channels, height, width) into (batch, height * width, channels)."""
    return x.flatten(2).transpose(1, 2)
