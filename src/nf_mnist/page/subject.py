"""The flow that a page is about, and the images beside it."""

from dataclasses import dataclass
from functools import cached_property

import torch
from omegaconf import DictConfig
from torch import Tensor

from nf_mnist.app.building import load_split
from nf_mnist.app.trained import load_classifier, load_trained
from nf_mnist.checkpoints.pretrained import PREFIX
from nf_mnist.data import Dequantizer, Images
from nf_mnist.errors import ConfigError, ShapeError, check_range
from nf_mnist.flows import Flow
from nf_mnist.hardware import keep_freed_memory, resolve_device
from nf_mnist.metrics import check_digits
from nf_mnist.nets import Classifier


@dataclass(frozen=True)
class Subject:
    """A trained flow and what is needed to look at it. Nothing of it changes, so that requests may share it.

    Attributes:
        title: Name of the weights or of the file, without its folders.
        flow: The flow, in evaluation mode; its parameters take no gradients.
        dequantizer: The dequantizer that it was trained with.
        test: Test images of its data.
        train: Training images of its data.
    """

    title: str
    flow: Flow
    dequantizer: Dequantizer
    test: Images
    train: Images

    @property
    def device(self) -> torch.device:
        """Where the flow is."""
        return next(self.flow.parameters()).device

    @cached_property
    def training_points(self) -> Tensor:
        """The training images in [0, 1] as points, shape (n, dims)."""
        return self.train.levels.flatten(1).float() / 255

    @cached_property
    def classifier(self) -> Classifier:
        """The released classifier.

        Raises:
            ShapeError: If the flow's images are no digits of MNIST's size.
        """
        check_digits(self.flow.event_shape)
        return load_classifier()

    def test_image(self, number: float | None) -> Tensor:
        """Return a test image, shape (1, height, width) and dtype uint8.

        Raises:
            ConfigError: If there is none of that number.
        """
        if number is None or number != int(number):
            raise ConfigError(f"a test image has a whole number from 0 to {len(self.test.levels) - 1}")
        check_range(0, len(self.test.levels) - 1, test_image=int(number))
        return self.test.levels[int(number)]


def load_subject(cfg: DictConfig) -> Subject:
    """Load the flow and the images that the settings of ``play`` name.

    Raises:
        CheckpointError: If the checkpoint is refused.
        ShapeError: If its images have another shape than the flow takes.
    """
    device = resolve_device(cfg.device)
    keep_freed_memory()
    trained = load_trained(cfg.ckpt, cfg.trust)
    test, train = load_split(trained.cfg.data, "test")
    shape = tuple(test.levels.shape[1:])
    if shape != trained.flow.event_shape or shape[0] != 1:
        raise ShapeError(
            f"this flow takes {trained.flow.event_shape}, the images are {shape}; the page needs grey images"
        )
    name = str(cfg.ckpt)
    title = name.removeprefix(PREFIX) if name.startswith(PREFIX) else name.replace("\\", "/").rpartition("/")[2]
    flow = trained.flow.to(device).requires_grad_(False)
    return Subject(title, flow, trained.dequantizer.to(device), test, train)
