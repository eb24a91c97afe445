"""Self-attention with a cache of keys and values, and the block of transformers that has it."""

import math

import torch
from torch import Tensor, nn


class KeyValueCache:
    """Keys and values of the tokens so far, for one attention layer.

    Tensors grow by concatenation and never change in place, so that gradients can flow through them.
    """

    def __init__(self) -> None:
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append tokens to the cache; return all keys and values, shape (batch, heads, tokens, features)."""
        if self.keys is not None and self.values is not None:
            keys, values = torch.cat([self.keys, keys], 2), torch.cat([self.values, values], 2)
        self.keys, self.values = keys, values
        return keys, values


class SelfAttention(nn.Module):
    """Multi-head attention between tokens, written as matmul and softmax.

    On a CPU in bf16 the fused ``scaled_dot_product_attention`` is many times slower with so few tokens.

    Args:
        features: Width of the tokens.
        n_heads: Number of heads.
    """

    def __init__(self, features: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.scale = 1 / math.sqrt(features // n_heads)
        self.query_key_value = nn.Linear(features, 3 * features)
        self.out = nn.Linear(features, features)

    def forward(
        self, tokens: Tensor, hidden: Tensor | None = None, temperature: float = 1.0, cache: KeyValueCache | None = None
    ) -> Tensor:
        """Return the result for each token, shape (batch, tokens, features).

        Args:
            tokens: Shape (batch, tokens, features).
            hidden: Which tokens (columns) a token (row) must not see, shape (tokens, all tokens) and dtype bool;
                None if all tokens see each other.
            temperature: Divisor of the attention's logits; above 1, attention is more even.
            cache: Keys and values of earlier tokens, to which those of ``tokens`` are appended.
        """
        query, key, value = self.query_key_value(tokens).unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        if cache is not None:
            key, value = cache.extend(key, value)
        scores = (query * (self.scale / temperature)) @ key.transpose(-1, -2)
        if hidden is not None:
            scores = scores.masked_fill(hidden, -math.inf)
        return self.out((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))


class TransformerBlock(nn.Module):
    """Self-attention and a two-layer perceptron, each with layer normalization before it and a skip.

    Args:
        features: Width of the tokens.
        n_heads: Number of heads of the attention.
    """

    def __init__(self, features: int, n_heads: int) -> None:
        super().__init__()
        self.before_attention, self.before_mlp = nn.LayerNorm(features), nn.LayerNorm(features)
        self.attention = SelfAttention(features, n_heads)
        self.mlp = nn.Sequential(nn.Linear(features, 4 * features), nn.GELU(), nn.Linear(4 * features, features))

    def forward(
        self, tokens: Tensor, hidden: Tensor | None = None, temperature: float = 1.0, cache: KeyValueCache | None = None
    ) -> Tensor:
        tokens = tokens + self.attention(self.before_attention(tokens), hidden, temperature, cache)
        return tokens + self.mlp(self.before_mlp(tokens))
