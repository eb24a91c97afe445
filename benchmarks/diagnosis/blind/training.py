"""Brief training, the same for flows of every library."""

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.diagnosis.blind.cases import training_and_validation
from nf_mnist.data import UniformDequantizer, draw_noise

BATCH_SIZE = 64
Objective = Callable[[Any, Tensor, Tensor | None], Tensor]


def log_likelihood(flow: Any, x: Tensor, labels: Tensor | None) -> Tensor:
    """Return log p(x) in nats, shape (batch,), of a flow or of an object with ``forward_and_log_det``."""
    if hasattr(flow, "log_prob"):
        return flow.log_prob(x) if labels is None else flow.log_prob(x, labels)
    z, log_det = flow.forward_and_log_det(x)
    return log_normal(z) + log_det


def log_normal(z: Tensor) -> Tensor:
    """Return the log-density of a standard normal, shape (batch,)."""
    return -0.5 * (z.flatten(1).square() + math.log(2 * math.pi)).sum(1)


def train(
    flow: nn.Module,
    n_steps: int = 500,
    lr: float = 1e-3,
    *,
    levels: Tensor | None = None,
    labels: Tensor | None = None,
    objective: Objective = log_likelihood,
    parameters: Iterable[nn.Parameter] | None = None,
) -> None:
    """Train a flow by Adam for some steps.

    Args:
        flow: The flow; it is left in evaluation mode.
        n_steps: Number of steps.
        lr: Learning rate; the last third of the steps takes a tenth of it.
        levels: Training images, shape (n, 1, 28, 28); None for those of MNIST.
        labels: Their labels, shape (n,), for a conditional flow.
        objective: What is maximised, in nats, shape (batch,).
        parameters: What is trained; None for all parameters.
    """
    levels = training_and_validation()[0].levels if levels is None else levels
    trained = list(flow.parameters() if parameters is None else parameters)
    optimizer = torch.optim.Adam(trained, lr, fused=True)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2 * n_steps // 3])
    flow.train()
    for _ in range(n_steps):
        index = torch.randint(len(levels), (BATCH_SIZE,))
        x, _ = UniformDequantizer()(levels[index], draw_noise(levels[index]))
        optimizer.zero_grad()
        loss = -objective(flow, x, None if labels is None else labels[index]).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 500.0)
        optimizer.step()
        schedule.step()
    flow.eval()


train_briefly = partial(train, n_steps=150)
train_longer = partial(train, n_steps=400, lr=2e-3)
