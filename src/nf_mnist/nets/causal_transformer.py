"""A causal transformer over the patches of an image, which also predicts patch by patch with cached keys and values."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from nf_mnist.errors import ConfigError
from nf_mnist.nets.labels import NO_LABEL

NextPrediction = Callable[[Tensor], Tensor]


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


class CausalAttention(nn.Module):
    """Multi-head attention of each token to itself and to earlier tokens, written as matmul and softmax.

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
        self, tokens: Tensor, hidden: Tensor, temperature: float = 1.0, cache: KeyValueCache | None = None
    ) -> Tensor:
        """Return the result for each token, shape (batch, tokens, features).

        Args:
            tokens: Shape (batch, tokens, features).
            hidden: Which tokens (columns) a token (row) must not see, shape (tokens, all tokens) and dtype bool.
            temperature: Divisor of the attention's logits; above 1, attention is more even.
            cache: Keys and values of earlier tokens, to which those of ``tokens`` are appended.
        """
        query, key, value = self.query_key_value(tokens).unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        if cache is not None:
            key, value = cache.extend(key, value)
        scores = (query * (self.scale / temperature)) @ key.transpose(-1, -2)
        weights = scores.masked_fill(hidden, -math.inf).softmax(-1)
        return self.out((weights @ value).transpose(1, 2).flatten(2))


class CausalBlock(nn.Module):
    """Causal attention and a two-layer perceptron, each with layer normalization before it and a skip.

    Args:
        features: Width of the tokens.
        n_heads: Number of heads of the attention.
    """

    def __init__(self, features: int, n_heads: int) -> None:
        super().__init__()
        self.before_attention, self.before_mlp = nn.LayerNorm(features), nn.LayerNorm(features)
        self.attention = CausalAttention(features, n_heads)
        self.mlp = nn.Sequential(nn.Linear(features, 4 * features), nn.GELU(), nn.Linear(4 * features, features))

    def forward(
        self, tokens: Tensor, hidden: Tensor, temperature: float = 1.0, cache: KeyValueCache | None = None
    ) -> Tensor:
        tokens = tokens + self.attention(self.before_attention(tokens), hidden, temperature, cache)
        return tokens + self.mlp(self.before_mlp(tokens))


class CausalTransformer(nn.Module):
    """Predict, for each patch but the first, some values from all patches before it (Zhai et al. 2024, section 2.2).

    The last layer is zero at first, and so are all predictions.

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
        super().__init__()
        if features % n_heads:
            raise ConfigError(f"transformer_features={features} must be a multiple of transformer_heads={n_heads}")
        if n_patches < 2:
            raise ConfigError("an image of one patch leaves nothing to predict; use a smaller patch_size")
        n_tokens = n_patches - 1  # the last patch predicts nothing
        self.register_buffer("hidden", torch.ones(n_tokens, n_tokens, dtype=torch.bool).triu(1), persistent=False)
        self.proj_in = nn.Linear(patch_features, features)
        self.position = nn.Parameter(0.01 * torch.randn(n_tokens, features))
        self.label = nn.Embedding(n_classes, features) if n_classes else None
        if self.label is not None:
            nn.init.normal_(self.label.weight, std=0.01)
        self.blocks = nn.ModuleList(CausalBlock(features, n_heads) for _ in range(n_layers))
        self.proj_out = nn.Linear(features, out_features)
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)

    def forward(self, patches: Tensor, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Return the predictions for all patches but the first, shape (batch, n_patches - 1, out_features).

        Args:
            patches: Shape (batch, n_patches, patch_features), or without the last patch.
            context: Labels, shape (batch,); :data:`NO_LABEL` stands for the mean over the classes.
            temperature: Divisor of the logits of all attentions.

        Raises:
            ConfigError: If there is a context and the network was built without classes.
        """
        tokens = self.proj_in(patches[:, : len(self.position)]) + self.position
        if context is not None:
            tokens = tokens + self._shift(context)
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
        sees_all = self.hidden.new_zeros(1, 1)

        def predict(patch: Tensor) -> Tensor:
            tokens = self.proj_in(patch[:, None]) + next(positions) + shift
            for block, cache in zip(self.blocks, caches, strict=True):
                tokens = block(tokens, sees_all, temperature, cache)
            return self.proj_out(tokens[:, 0])

        return predict

    def _shift(self, context: Tensor) -> Tensor:
        """Return what labels add to the tokens, shape (batch, 1, features)."""
        if self.label is None:
            raise ConfigError("this transformer is not conditioned on anything; leave the context out")
        given = (context != NO_LABEL)[:, None]
        shift = torch.where(given, self.label(context.clamp(min=0)), self.label.weight.mean(0))
        return shift[:, None]
