"""A flow that is autoregressive over patches, and the guidance of its samples."""

from collections.abc import Sequence
from typing import cast

from torch import Tensor

from nf_mnist.bijectors import Bijector, Flatten, PatchAutoregression, Patches, Sequential, Shape
from nf_mnist.errors import ConfigError, check_range
from nf_mnist.flows.flow import Flow
from nf_mnist.nets import CausalTransformer, GuidedTransformer, hide_labels


class PatchFlow(Flow):
    """Autoregressions over the patches of an image, in alternating order; see :func:`~nf_mnist.flows.tarflow`.

    Args:
        preprocess: The first layer.
        patches: Cuts the image into patches.
        nets: Network of each autoregression; the second, fourth and so on predict from the last patch to the first.
        event_shape: (channels, height, width).
        n_classes: Number of class labels that condition everything; 0 for none.
        label_dropout: Share of the training images whose label is hidden, so that the flow also learns the density of
            images of any class. Guidance by labels needs it.

    Raises:
        SettingError: If ``label_dropout`` is not a share.
    """

    def __init__(
        self,
        preprocess: Bijector,
        patches: Patches,
        nets: Sequence[CausalTransformer],
        event_shape: Shape,
        n_classes: int,
        label_dropout: float,
    ) -> None:
        check_range(0, 1, label_dropout=label_dropout)
        steps = [PatchAutoregression(net, is_reversed=bool(i % 2)) for i, net in enumerate(nets)]
        layers = [preprocess, patches, *steps, Flatten(patches.event_shape_out)]
        super().__init__(Sequential(layers), event_shape, n_classes)
        self.label_dropout = label_dropout

    def training_context(self, levels: Tensor, labels: Tensor) -> Tensor | None:
        """Return the labels of a training batch, some of them hidden at random; None for a flow without labels."""
        if not self.n_classes:
            return None
        return hide_labels(labels, self.label_dropout)

    def guided(self, weight: float, attention_temperature: float | None = None) -> Flow:
        if attention_temperature is None and not self.n_classes:
            raise ConfigError("guidance needs class labels, and this flow has none; give an attention_temperature=")
        if attention_temperature is None and not self.label_dropout:
            raise ConfigError(
                "guidance by labels needs a flow that was trained with some labels hidden "
                "(model.flow.label_dropout); give an attention_temperature="
            )
        temperature = 1.0 if attention_temperature is None else attention_temperature
        layers = [
            self._guided_step(layer, weight, temperature) if isinstance(layer, PatchAutoregression) else layer
            for layer in cast(Sequential, self.bijector).layers()
        ]
        return Flow(Sequential(layers), self.event_shape, self.n_classes).eval()

    def _guided_step(self, step: PatchAutoregression, weight: float, temperature: float) -> PatchAutoregression:
        net = GuidedTransformer(cast(CausalTransformer, step.net), weight, temperature)
        return PatchAutoregression(net, step.is_reversed)
