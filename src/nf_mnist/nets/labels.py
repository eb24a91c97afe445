"""Conditioning of networks on class labels."""

from torch import Tensor, nn


class ClassBias(nn.Module):
    """Add a learned bias per class and channel, initially zero; without classes, return the input unchanged.

    Args:
        n_classes: Number of class labels; 0 for none.
        channels: Number of channels of the input.
    """

    def __init__(self, n_classes: int, channels: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_classes, channels) if n_classes else None
        if self.embedding is not None:
            nn.init.zeros_(self.embedding.weight)

    def forward(self, x: Tensor, label: Tensor | None) -> Tensor:
        """Return x, shape (batch, channels, ...), plus the bias of its labels, shape (batch,)."""
        if self.embedding is None or label is None:
            return x
        bias = self.embedding(label).to(x.dtype)  # or autocast's bfloat16 would become float32 from here on
        return x + bias.reshape(*x.shape[:2], *[1] * (x.dim() - 2))
