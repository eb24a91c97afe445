"""A fast convolution from few channels to many, followed by batch normalization."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# With fewer output channels per element of a patch than this, the statistics of patches cost more than they save.
MIN_CHANNELS_PER_ELEMENT = 7


def convolve_and_normalize(x: Tensor, conv: nn.Conv2d, norm: nn.Module) -> Tensor:
    """Return ``norm(conv(x))``, in training without a pass over the output channels for their statistics.

    Each output is linear in a patch of the input, so mean and variance of channel c over a batch are ``w_c m + b_c``
    and ``w_c' S w_c``, where m and S are the mean and covariance of the patches. The normalization (Ioffe & Szegedy
    2015, algorithm 1) is then a rescaling of the kernel. This saves its passes over all output channels, forward and
    backward, which on a CPU take as long as the convolution. If there are not many more output channels than elements
    in a patch, nothing is saved, and the two layers run one after the other. So they do on a GPU, where the statistics
    of patches take many more small operations than the pass that they save.

    Args:
        x: Input, shape (batch, channels, height, width).
        conv: Convolution with a bias and zero padding, without dilation or groups.
        norm: Batch normalization; its running statistics are updated in training as usual.
    """
    is_worthwhile = x.device.type == "cpu" and len(conv.weight) >= MIN_CHANNELS_PER_ELEMENT * conv.weight[0].numel()
    if not norm.training or not is_worthwhile or not isinstance(norm, nn.BatchNorm2d):  # for example a SyncBatchNorm
        return norm(conv(x))
    with torch.autocast(x.device.type, enabled=False):
        mean, variance, n = _output_statistics(x.to(conv.weight.dtype), conv)
        _update_running(norm, mean.detach(), variance.detach() * (n / max(n - 1, 1)))
        factor = norm.weight * (variance + norm.eps).rsqrt()
        weight = conv.weight * factor[:, None, None, None]
        bias = norm.bias + factor * (cast(Tensor, conv.bias) - mean)
    return F.conv2d(x, weight, bias, conv.stride, conv.padding)


def _output_statistics(x: Tensor, conv: nn.Conv2d) -> tuple[Tensor, Tensor, int]:
    """Return mean and biased variance of each channel of ``conv(x)``, and the number of values per channel."""
    patches = _patches(x, conv)
    n = patches.shape[1]
    mean = patches.mean(1)
    centred = patches - mean[:, None]
    weight = conv.weight.flatten(1)
    variance = ((weight @ (centred @ centred.T / n)) * weight).sum(1)
    return weight @ mean + cast(Tensor, conv.bias), variance, n


def _patches(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """Return the patches of x that ``conv`` sees, shape (elements, patches); the backward pass beats ``F.unfold``'s."""
    (high, wide), (down, right) = cast(tuple[int, int], conv.kernel_size), cast(tuple[int, int], conv.stride)
    vertical, horizontal = cast(tuple[int, int], conv.padding)
    padded = F.pad(x, (horizontal, horizontal, vertical, vertical)).transpose(0, 1)
    rows, columns = (padded.shape[2] - high) // down + 1, (padded.shape[3] - wide) // right + 1
    seen = [
        padded[:, :, top : top + rows * down : down, left : left + columns * right : right]
        for top in range(high)
        for left in range(wide)
    ]
    return torch.stack(seen, dim=1).flatten(2).flatten(0, 1)


@torch.no_grad()
def _update_running(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    n_batches = cast(Tensor, norm.num_batches_tracked).add_(1)
    rate = 1 / int(n_batches) if norm.momentum is None else norm.momentum
    cast(Tensor, norm.running_mean).lerp_(mean, rate)
    cast(Tensor, norm.running_var).lerp_(variance, rate)
