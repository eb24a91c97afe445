"""Images for the training of the classifier: distorted digits, and outliers, which are no digits."""

import torch
from torch import Tensor
from torch.nn import functional as F

from nf_mnist.data.augment import affine, random_maps


def distort(images: Tensor, amount: float) -> Tensor:
    """Apply a random affine map to each image (Simard et al. 2003, section 2).

    Args:
        images: Grey values, shape (batch, 1, height, width).
        amount: Each element of the 2x3 matrix differs from the identity by a uniform draw in [-amount, amount].
    """
    return affine(images, random_maps(images, 3, amount), "bilinear")


def outliers(images: Tensor) -> Tensor:
    """Return as many images that are no digits, shape (batch, 1, height, width), each of one of three random kinds.

    The kinds are: the pixels of an image in random order; its 4x4 blocks (of 7x7 pixels for MNIST) in random order; and
    uniform noise, of which a random share is black.
    """
    batch, _, height, width = images.shape
    flat = images.flatten(1)
    scattered = flat.gather(1, torch.rand_like(flat).argsort(1)).reshape(images.shape)
    size = (height // 4, width // 4)
    blocks = F.unfold(images, size, stride=size)
    order = torch.rand(batch, 1, blocks.shape[2], device=images.device).argsort(2)
    moved = F.fold(blocks.gather(2, order.expand_as(blocks)), (height, width), size, stride=size)
    noise = torch.rand_like(images) * (torch.rand_like(images) < torch.rand(batch, 1, 1, 1, device=images.device))
    kind = torch.randint(3, (batch, 1, 1, 1), device=images.device)
    return torch.where(kind == 0, scattered, torch.where(kind == 1, moved, noise))
