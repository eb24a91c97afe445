"""A transformer over the pixels of a small image, causal between groups of pixels."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nf_mnist.errors import ConfigError


class Attention(nn.Module):
    """Multi-head attention of queries to content, written as matmul and softmax.

    On a CPU in bf16 the fused ``scaled_dot_product_attention`` is many times slower with so few tokens.

    Args:
        features: Width of the tokens.
        n_heads: Number of heads.
    """

    def __init__(self, features: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.query = nn.Linear(features, features)
        self.key_value = nn.Linear(features, 2 * features)
        self.out = nn.Linear(features, features)

    def forward(self, queries: Tensor, content: Tensor, allowed: Tensor) -> Tensor:
        """Return the result for each query, shape (batch, tokens, features).

        Args:
            queries: Query tokens, shape (batch, tokens, features).
            content: Content tokens, shape (batch, tokens, features).
            allowed: Which content (columns) each query (row) may see, shape (tokens, tokens) and dtype bool.
        """
        query = self._heads(self.query(queries))
        key, value = (self._heads(half) for half in self.key_value(content).chunk(2, -1))
        scores = (query @ key.transpose(-1, -2)) / math.sqrt(query.shape[-1])
        scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
        weights = scores.softmax(-1) * allowed  # a query without any allowed content gets zeros
        return self.out((weights @ value).transpose(1, 2).flatten(2))

    def _heads(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """Attention and a two-layer perceptron, each with layer normalization before it and a skip (Xiong et al. 2020).

    Args:
        features: Width of the tokens.
        n_heads: Number of heads of the attention.
    """

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

    There are two streams, as in XLNet (Yang et al. 2019, section 2.3). Content tokens hold position and value, and
    attend to their own and earlier groups. Query tokens hold only the position and attend to earlier groups.

    Args:
        groups: Group of each pixel, shape (height, width).
        in_channels: Number of features of a pixel.
        features: Width of the tokens.
        n_blocks: Number of blocks.
        n_heads: Number of heads of each attention.
        out_channels: Number of values predicted for a pixel.
        n_classes: Number of class labels the network is conditioned on; 0 for none.
        condition: Network for conditioning on an image instead of labels: it maps the image to ``features`` channels,
            which are added to the tokens. It must see the whole image, because the first group attends to nothing. None
            for no such conditioning.

    Raises:
        ConfigError: If ``features`` is not a multiple of ``n_heads``.
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

        Args:
            x: Features of pixels.
            context: Labels, shape (batch,), or the input of ``condition``, shape (batch, channels, height, width).

        Raises:
            ConfigError: If there is a context and the network was built without conditioning.
        """
        content = self.proj_in(_tokens(x)) + self.position
        queries = self.query_position.expand(len(x), -1, -1)
        if context is not None:
            shift = self._shift(context)
            content, queries = content + shift, queries + shift
        for block in self.blocks:
            queries = block(queries, content, self.sees_earlier)
            content = block(content, content, self.sees_own)
        predicted = self.proj_out(F.gelu(queries))
        return predicted.transpose(1, 2).unflatten(2, x.shape[2:])

    def _shift(self, context: Tensor) -> Tensor:
        """Return what the context adds to the tokens."""
        if self.label is not None:
            return self.label(context)[:, None]
        if self.condition is not None:
            return _tokens(self.condition(context))
        raise ConfigError("this transformer is not conditioned on anything; leave the context out")


def _tokens(x: Tensor) -> Tensor:
    """Turn (batch, channels, height, width) into (batch, height * width, channels)."""
    return x.flatten(2).transpose(1, 2)
