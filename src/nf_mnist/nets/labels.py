"""Conditioning of networks on class labels."""

import torch
from torch import Tensor, nn

NO_LABEL = -1  # the label of an image whose class is not given


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


class LabelEmbedding(nn.Module):
    """Add a learned vector per class to features; without classes, return the features unchanged.

    Args:
        n_classes: Number of class labels; 0 for none.
        features: Number of features.
    """

    def __init__(self, n_classes: int, features: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_classes, features) if n_classes else None
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, std=0.02)

    def forward(self, x: Tensor, label: Tensor | None) -> Tensor:
        """Return x, shape (batch, features), plus the vectors of its labels, shape (batch,).

        :data:`NO_LABEL` adds nothing.
        """
        if self.embedding is None or label is None:
            return x
        is_given = (label != NO_LABEL)[:, None]
        return x + is_given * self.embedding(label.clamp(min=0)).to(x.dtype)


def hide_labels(labels: Tensor, share: float) -> Tensor:
    """Return labels, shape (batch,), of which a random share is :data:`NO_LABEL`, so that a net learns any class too.

    Ho and Salimans 2022, "Classifier-free diffusion guidance", algorithm 1.
    """
    is_hidden = torch.rand(labels.shape, device=labels.device) < share
    return labels.masked_fill(is_hidden, NO_LABEL)
