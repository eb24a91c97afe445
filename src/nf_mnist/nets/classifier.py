"""A small classifier of digits, for measuring the quality of samples."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nf_mnist.errors import check_range

N_CLASSES = 10
N_FEATURES = 128
BATCH_SIZE = 100  # images in one pass


class Classifier(nn.Module):
    """Three stages of two 3x3 convolutions with BatchNorm and a pooling that halves each side.

    The design is that of Simonyan & Zisserman 2014.

    Args:
        channels: Number of channels of the first stage; the other two have twice and four times as many.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        check_range(1, channels=channels)
        widths = (1, channels, 2 * channels, 4 * channels)
        self.stages = nn.Sequential(*(_stage(*pair) for pair in pairwise(widths)))
        self.hidden = nn.Linear(widths[-1], N_FEATURES)
        self.last = nn.Linear(N_FEATURES, N_CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Map grey images in [0, 1], shape (batch, 1, 28, 28), to logits of the ten digits, shape (batch, 10)."""
        return self.last(F.dropout(self.features(images), 0.3, self.training))

    def features(self, images: Tensor) -> Tensor:
        """Map images in [0, 1] to the inputs of the last layer, shape (batch, 128)."""
        return F.relu(self.hidden(self.stages(2 * images - 1).mean((2, 3))))

    def probabilities(self, levels: Tensor) -> Tensor:
        """Return the probability of each digit, shape (n, 10), on the CPU, for levels of shape (n, 1, 28, 28)."""
        return self.features_and_probabilities(levels)[1]

    @torch.no_grad()
    def features_and_probabilities(self, levels: Tensor) -> tuple[Tensor, Tensor]:
        """Return features, shape (n, 128), and probabilities, shape (n, 10), on the CPU.

        Args:
            levels: Images, shape (n, 1, 28, 28) and dtype uint8.
        """
        device = self.last.weight.device
        features = [self.features(batch.to(device).float() / 255) for batch in levels.split(BATCH_SIZE)]
        probabilities = [self.last(batch).softmax(1) for batch in features]
        return torch.cat(features).cpu(), torch.cat(probabilities).cpu()


def _stage(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )
