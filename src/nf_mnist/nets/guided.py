"""Guidance: predictions moved away from those that a network makes without labels, or with blurred attention."""

import torch
from torch import Tensor, nn

from nf_mnist.nets.causal_transformer import CausalTransformer, NextPrediction
from nf_mnist.nets.labels import NO_LABEL


class GuidedTransformer(nn.Module):
    """Extrapolate a transformer's predictions: ``p + w (p - q)`` (Zhai et al. 2024, section 2.6).

    p is the prediction with labels. q is the one without labels, with attention at another temperature, or both.

    Args:
        net: The transformer; it is shared, not copied.
        weight: w; 0 changes nothing.
        attention_temperature: Divisor of the logits of the attentions behind q.
    """

    def __init__(self, net: CausalTransformer, weight: float, attention_temperature: float) -> None:
        super().__init__()
        self.net = net
        self.weight, self.attention_temperature = weight, attention_temperature

    def forward(self, patches: Tensor, context: Tensor | None = None) -> Tensor:
        guided_to = self.net(patches, context)
        away_from = self.net(patches, _without_labels(context), self.attention_temperature)
        return guided_to + self.weight * (guided_to - away_from)

    def next_prediction(self, context: Tensor | None = None) -> NextPrediction:
        """Return a function from each patch in turn to the prediction for the next one, with two caches."""
        to = self.net.next_prediction(context)
        away = self.net.next_prediction(_without_labels(context), self.attention_temperature)

        def predict(patch: Tensor) -> Tensor:
            guided_to = to(patch)
            return guided_to + self.weight * (guided_to - away(patch))

        return predict


class GuidedVelocity(nn.Module):
    """Extrapolate a velocity field from the one without labels: ``v + w (v - q)`` (Ho & Salimans 2022, equation 6).

    Args:
        net: Predicts velocities from images, times and labels; it is shared, not copied.
        weight: w; 0 changes nothing.
    """

    def __init__(self, net: nn.Module, weight: float) -> None:
        super().__init__()
        self.net, self.weight = net, weight

    def forward(self, x: Tensor, time: Tensor, context: Tensor | None = None) -> Tensor:
        guided_to = self.net(x, time, context)
        return guided_to + self.weight * (guided_to - self.net(x, time, _without_labels(context)))


class LabelledVelocity(nn.Module):
    """A velocity field under one label, whatever its context.

    Args:
        net: Predicts velocities from images, times and labels; it is shared, not copied.
        label: The label of every image; None for images of any class.
    """

    def __init__(self, net: nn.Module, label: int | None) -> None:
        super().__init__()
        self.net, self.label = net, NO_LABEL if label is None else label

    def forward(self, x: Tensor, time: Tensor, context: Tensor | None = None) -> Tensor:
        return self.net(x, time, torch.full((len(x),), self.label, device=x.device))


def _without_labels(context: Tensor | None) -> Tensor | None:
    return None if context is None else torch.full_like(context, NO_LABEL)
