"""A level prior of the pixels that one coupling transforms, given the pixels that the coupling knows."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nf_mnist.bijectors.level_prior import ANY_PART, LevelPrior
from nf_mnist.bijectors.pixel_grid import PixelGrid

LogRatio = Callable[[Tensor], Tensor]  # from a mask of pixels to log(q / g) at levels 1 .. 255, shape (pixels, 255)

EARLY_WINDOWS, EARLY_STATES = 25, 64  # few known pixels leave many windows and states likely


class ChannelPrior(nn.Module):
    """A prior of the pixels of one channel of a squeezed image, given the channels before it.

    Args:
        prior: Prior of images, shared by all channels.
        grid: Places of the squeezed pixels in the image.
        channel: Index of the channel.
    """

    def __init__(self, prior: LevelPrior, grid: PixelGrid, channel: int) -> None:
        super().__init__()
        self.prior, self.grid, self.channel = prior, grid, channel
        halvings = grid.stride.bit_length() - 1
        self.stage = 3 * (halvings - 1) + channel - 1

    def fit(self, levels: Tensor) -> None:
        """Fit the prior to whole images; one of the couplings that share it is enough, the first.

        Raises:
            DataError: If it does not explain them.
        """
        if self.stage == 0:
            self.prior.fit(levels)

    def log_ratio_given(self, known: Tensor, observed: Tensor | None = None) -> LogRatio:
        """Return a function from pixels, a mask of shape (batch, height, width), to what is predicted for them.

        Args:
            known: Levels of the channels before this one, shape (batch, channel, height, width).
            observed: Levels of other pixels that are known, 0 elsewhere, shape (batch, image height, image width).
        """
        image = known_image(known, self.grid)
        if observed is None:
            belief = self.prior.believe(image, self.stage)
        else:
            belief = self.prior.believe(torch.maximum(image, observed), ANY_PART)

        def log_ratio(mask: Tensor) -> Tensor:
            image, row, column = mask.nonzero(as_tuple=True)
            return self.prior.log_ratio(belief, image, *self.grid.places(self.channel, row, column))

        return log_ratio


class GroupedPrior(nn.Module):
    """A prior of the pixels of one channel that come in groups, given all earlier groups.

    Args:
        prior: Prior of images.
        grid: Places of the pixels in the image; it has one channel.
        groups: Group of each pixel, counted from 0, shape (height, width).
    """

    groups: Tensor

    def __init__(self, prior: LevelPrior, grid: PixelGrid, groups: Tensor) -> None:
        super().__init__()
        self.prior, self.grid = prior, grid
        self.register_buffer("groups", groups, persistent=False)

    def fit(self, levels: Tensor) -> None:
        """Fit the prior to whole images, unless couplings of finer scales share it.

        Raises:
            DataError: If it does not explain them.
        """
        if self.grid.stride == 1:
            self.prior.fit(levels)

    def log_ratio_given(self, levels: Tensor, observed: Tensor | None = None) -> LogRatio:
        """Return a function from pixels, a mask of shape (batch, height, width), to what is predicted for them.

        Args:
            levels: Levels of the channel, shape (batch, 1, height, width). What is predicted for a pixel depends on
                earlier groups only.
            observed: Levels of other pixels that are known, 0 elsewhere, shape (batch, image height, image width).
        """

        def log_ratio(mask: Tensor) -> Tensor:
            image, row, column = mask.nonzero(as_tuple=True)
            groups, index = self.groups[row, column].unique(return_inverse=True)
            known = levels * (self.groups < groups[:, None, None, None, None])
            images = known_image(known.flatten(0, 1), self.grid)
            if observed is not None:
                images = torch.maximum(images, observed.repeat(len(groups), 1, 1))
            belief = self.prior.believe(images, ANY_PART, EARLY_WINDOWS, EARLY_STATES)
            return self.prior.log_ratio(belief, index * len(levels) + image, *self.grid.places(0, row, column))

        return log_ratio


def known_image(levels: Tensor, grid: PixelGrid) -> Tensor:
    """Put known channels in their places in the image, shape (batch, height, width), and 0 everywhere else.

    Args:
        levels: Levels of the first channels, shape (batch, channels, height / stride, width / stride).
        grid: Places of the squeezed pixels in the image.
    """
    stride = grid.stride
    image = levels.new_zeros(len(levels), stride * levels.shape[2], stride * levels.shape[3])
    for channel, (row, column) in zip(levels.unbind(1), grid.corners, strict=False):
        image[:, row::stride, column::stride] = channel
    return image
