"""Small flows without a fault, and a brief training on small MNIST images."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.diagnosis.small_flows import GREY, HALF, IMAGE, gaussianization, small_conditional, small_hierarchical
from nf_mnist.bijectors import (
    ActNorm,
    AffineCoupling,
    BatchNorm,
    Bijector,
    FactorOut,
    Flatten,
    Logit,
    Permutation,
    Sequential,
    Shape,
    Squeeze,
    make_mask,
    random_order,
)
from nf_mnist.data import Dequantizer, UniformDequantizer, draw_noise, mnist, random_subset
from nf_mnist.flows import Flow, cp3, normalization, preprocessing, resflow

N_TRAIN, N_HELD_OUT = 20000, 2000
N_STEPS, BATCH_SIZE, LR = 300, 128, 3e-3
WIDTH = 64
FLAT = (64,)


class SmallImages(NamedTuple):
    """Grey levels of small images, shape (n, 1, side, side) and dtype uint8.

    Attributes:
        train: Images to train on.
        held_out: Images that no flow is trained on.
    """

    train: Tensor
    held_out: Tensor


@cache
def small_images(side: int) -> SmallImages:
    """Return a seeded random sample of MNIST's training images, averaged down to ``side`` x ``side`` pixels."""
    images, _ = random_subset(mnist().train, N_TRAIN + N_HELD_OUT, seed=0)
    levels = F.adaptive_avg_pool2d(images.levels.float(), side).round().to(torch.uint8)
    return SmallImages(levels[:N_TRAIN], levels[N_TRAIN:])


def train_briefly(
    flow: Flow, levels: Tensor | None = None, dequantizer: Dequantizer | None = None, n_steps: int = N_STEPS
) -> Flow:
    """Train a flow in place with Adam, a fixed seed and a learning rate that falls to 0.

    Args:
        flow: The flow to train.
        levels: Images to train on; None for the training images of :func:`small_images`.
        dequantizer: Dequantizer of the images; None for the uniform one.
        n_steps: Number of steps.

    Returns:
        The flow, in evaluation mode.
    """
    levels = small_images(flow.event_shape[-1]).train if levels is None else levels
    dequantizer = dequantizer or UniformDequantizer()
    torch.manual_seed(0)
    flow.bijector.fit(levels)
    optimizer = torch.optim.Adam(flow.parameters(), LR)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    flow.train()
    for _ in range(n_steps):
        batch = levels[torch.randint(len(levels), (BATCH_SIZE,))]
        x, log_q = dequantizer(batch, draw_noise(batch))
        context = flow.training_context(batch, torch.zeros(len(batch), dtype=torch.int64))
        optimizer.zero_grad()
        (log_q - flow(x, context)[1]).mean().backward()
        nn.utils.clip_grad_norm_(flow.parameters(), 1000.0)
        optimizer.step()
        schedule.step()
    return flow.eval()


def couplings(shape: Shape, mask: str, scale_activation: str = "tanh") -> list[Bijector]:
    """Build two couplings with complementary masks."""
    dims = torch.Size(shape).numel()

    def net() -> nn.Module:
        hidden = [nn.Linear(dims, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU(), nn.Linear(WIDTH, dims)]
        return nn.Sequential(nn.Flatten(), *hidden, nn.Unflatten(1, shape))

    kept = make_mask(mask, shape)
    return [AffineCoupling(m, net(), net(), scale_activation) for m in (kept, 1 - kept)]


def multiscale(scale_activation: str = "tanh") -> Flow:
    """Build a flow that has every kind of layer."""
    rest = Sequential([*couplings(HALF, "checkerboard", scale_activation), Flatten(HALF)])
    layers = [
        Logit(0.01),
        *couplings(GREY, "checkerboard", scale_activation),
        BatchNorm(GREY),
        Squeeze(GREY),
        ActNorm(IMAGE),
        Permutation(torch.tensor([1, 2, 3, 0])),
        *couplings(IMAGE, "channel", scale_activation),
        FactorOut(IMAGE, 2, rest),
    ]
    return Flow(Sequential(layers), GREY)


def glow() -> Flow:
    """Build five steps of ActNorm, channel shuffle and channel coupling."""
    layers: list[Bijector] = [Logit(), Squeeze(GREY)]
    for step in range(5):
        layers += [ActNorm(IMAGE), Permutation(random_order(4, step)), couplings(IMAGE, "channel")[0]]
    return Flow(Sequential([*layers, Flatten(IMAGE)]), GREY)


def flat(first: Bijector, norm: Callable[[Shape], Bijector] = ActNorm) -> Flow:
    """Build four pairs of couplings of the flattened image, with a normalisation and a random shuffle after each."""
    layers: list[Bijector] = [first, Flatten(GREY), norm(FLAT)]
    for step in range(4):
        layers += [*couplings(FLAT, "even_odd"), norm(FLAT), Permutation(random_order(64, step))]
    return Flow(Sequential(layers), GREY)


def checkerboards() -> Flow:
    """Build three pairs of couplings of the image with chessboard masks only."""
    pairs = [layer for _ in range(3) for layer in couplings(GREY, "checkerboard", "soft_clamp")]
    return Flow(Sequential([Logit(), ActNorm(GREY), *pairs, Flatten(GREY)]), GREY)


def two_scale_resflow(norm: str) -> Flow:
    """Build the smallest multi-scale flow with residual conditioners."""
    return resflow(
        event_shape=GREY,
        preprocess=preprocessing("logit", 1e-5, True),
        norm=normalization(norm, 0.1, "batch", 1e-5),
        n_scales=2,
        hidden_channels=4,
        mlp_features=16,
        mask="checkerboard",
        scale_activation="tanh",
    )


def narrow_cp3() -> Flow:
    """Build the flow of flat couplings, BatchNorm and shuffles with narrow convolutions."""
    return cp3(
        event_shape=(1, 13, 13),
        preprocess=preprocessing("logit", 1e-5, True),
        norm=normalization("batchnorm", 0.1, "batch", 1e-5),
        n_couplings=4,
        hidden_channels=16,
        mlp_features=32,
        scale_activation="tanh",
        permutation_seed=0,
    )


# how each flow is built, and its number of training steps
HEALTHY: dict[str, tuple[Callable[[], Flow], int]] = {
    "multiscale": (multiscale, N_STEPS),
    "multiscale_soft_clamp": (lambda: multiscale("soft_clamp"), N_STEPS),
    "glow": (glow, N_STEPS),
    "flat": (lambda: flat(Logit(0.01)), N_STEPS),
    "flat_batchnorm": (lambda: flat(Logit(), lambda shape: BatchNorm(shape, policy="running")), N_STEPS),
    "flat_gaussianize": (lambda: flat(gaussianization(GREY)), N_STEPS),
    "checkerboards": (checkerboards, N_STEPS),
    "resflow_actnorm": (lambda: two_scale_resflow("actnorm"), 100),
    "resflow_batchnorm": (lambda: two_scale_resflow("batchnorm"), 100),
    "cp3": (narrow_cp3, 100),
    "hierarchical": (small_hierarchical, 100),
    "conditional": (small_conditional, 100),
}


def healthy_flow(name: str, n_steps: int | None = None) -> Flow:
    """Build a healthy flow with a fixed seed and train it, for its own number of steps or for ``n_steps``."""
    build, own_steps = HEALTHY[name]
    torch.manual_seed(0)
    return train_briefly(build(), n_steps=own_steps if n_steps is None else n_steps)
