"""The residual flow (Chen et al. 2019, "Residual flows for invertible generative modeling")."""

import torch

from nf_mnist.bijectors import Bijector, Flatten, InvertibleResidual, LogDetSeries, Sequential, Shape, Squeeze
from nf_mnist.errors import ConfigError, check_range
from nf_mnist.flows.components import MAX_SCALES, Norm, Preprocess
from nf_mnist.flows.flow import Flow
from nf_mnist.nets import ContractiveNet

LOG_DETS = ("estimated", "exact")


def residual_flow(
    *,
    event_shape: Shape,
    preprocess: Preprocess,
    norm: Norm,
    n_scales: int,
    n_blocks: int,
    hidden_channels: int,
    n_dense_blocks: int,
    dense_features: int,
    coefficient: float,
    log_det: str,
    n_terms: int,
    n_evaluation_terms: int,
) -> Flow:
    """Build scales of invertible residual blocks with a squeeze between them, and dense blocks at the end.

    A network is LipSwish and convolution three times, with kernels of 3x3, 1x1 and 3x3; that of a dense block has
    linear layers. Nothing is factored out. This is not ``resflow``, whose residual networks only compute the scales and
    shifts of couplings: here the residual blocks themselves are inverted.

    Args:
        event_shape: (channels, height, width); the sides must halve ``n_scales - 1`` times.
        preprocess: Factory of the first layer; see :func:`~nf_mnist.flows.preprocessing`.
        norm: Factory of the normalisation before the first block and after each; see
            :func:`~nf_mnist.flows.normalization`.
        n_scales: Number of scales.
        n_blocks: Number of blocks at each scale.
        hidden_channels: Width of their networks.
        n_dense_blocks: Number of blocks on the flattened image.
        dense_features: Width of their networks.
        coefficient: Largest spectral norm of each layer of a network, below 1.
        log_det: ``estimated``, without a bias, or ``exact``, which is affordable for small images only.
        n_terms: Number of terms of an estimate that are always summed in training; see
            :class:`~nf_mnist.bijectors.LogDetSeries`.
        n_evaluation_terms: The same in evaluation.

    Raises:
        ConfigError: If a setting is unknown or out of range.
        ShapeError: If the sides do not halve often enough.
    """
    check_range(1, MAX_SCALES, n_scales=n_scales)
    check_range(0, n_blocks=n_blocks, n_dense_blocks=n_dense_blocks)
    if log_det not in LOG_DETS:
        raise ConfigError(f"model.flow.log_det must be one of {', '.join(LOG_DETS)}, got {log_det!r}")
    series = LogDetSeries(n_terms, n_evaluation_terms)

    def blocks(shape: Shape, n: int, width: int, kernel_sizes: tuple[int, ...]) -> list[Bijector]:
        layers: list[Bijector] = []
        for _ in range(n):
            net = ContractiveNet(shape, width, kernel_sizes, coefficient)
            layers += [InvertibleResidual(net, series if log_det == "estimated" else None), *norm(shape)]
        return layers

    shape = tuple(event_shape)
    layers = [preprocess(event_shape), *norm(shape), *blocks(shape, n_blocks, hidden_channels, (3, 1, 3))]
    for _ in range(n_scales - 1):
        squeeze = Squeeze(shape)
        shape = squeeze.event_shape_out
        layers += [squeeze, *blocks(shape, n_blocks, hidden_channels, (3, 1, 3))]
    dims = torch.Size(shape).numel()
    layers += [Flatten(shape), *blocks((dims,), n_dense_blocks, dense_features, (1, 1, 1))]
    return Flow(Sequential(layers), event_shape)
