"""What the tests of checks share: small tasks, flows trained for seconds, and results by name."""

from collections.abc import Iterable

import torch
from torch import nn

from nf_mnist.data import DEQUANTIZERS, Images, draw_noise
from nf_mnist.diagnostics import CHECKS, Batch, DiagnosisTask, Result, as_flow, diagnose, make_batch
from nf_mnist.flows import Flow

NAMES = [check.name for check in CHECKS]


def bars(n: int, side: int) -> Images:
    """Images of a vertical bar at a random position, in a random grey."""
    levels = torch.zeros(n, 1, side, side, dtype=torch.uint8)
    for image in levels:
        column = int(torch.randint(1, side - 3, ()))
        image[0, 1:-1, column : column + 2] = int(torch.randint(100, 256, ()))
    return Images(levels, torch.zeros(n, dtype=torch.long))


def trained(flow: Flow, images: Images, n_steps: int, lr: float = 5e-3) -> Flow:
    """Train a flow in place for a few steps, and return it in evaluation mode."""
    optimizer = torch.optim.Adam(flow.train().parameters(), lr)
    for _ in range(n_steps):
        rows = torch.randint(len(images.levels), (32,))
        x, log_q = DEQUANTIZERS["uniform"]()(images.levels[rows], draw_noise(images.levels[rows]))
        context = flow.training_context(images.levels[rows], images.labels[rows])
        optimizer.zero_grad()
        flow.training_loss(x, log_q, context).backward()
        nn.utils.clip_grad_norm_(flow.parameters(), 100)
        optimizer.step()
    return flow.eval()


def make_task(flow: Flow, dequantizer: str = "uniform", n: int = 100) -> DiagnosisTask:
    """Return a flow of images with n bars to score and n bars as its training images."""
    chosen = DEQUANTIZERS[dequantizer]()
    batch, train = (make_batch(flow, chosen, bars(n, flow.event_shape[1]), n, seed) for seed in (0, 1))
    return DiagnosisTask(flow, batch, train, chosen.is_discrete)


def task_of_four_numbers(built: object) -> DiagnosisTask:
    """Return an invertible map with six events of four numbers each."""
    levels = torch.randint(256, (6, 4), dtype=torch.uint8)
    x = (levels + torch.rand(6, 4)) / 256
    return DiagnosisTask(as_flow(built, (4,)), Batch(x, torch.zeros(6), levels, None))


def results(task: DiagnosisTask, names: Iterable[str] = NAMES) -> dict[str, Result]:
    """Return the results of some checks by name; the checks run in the order of the names."""
    checks = {check.name: check for check in CHECKS}
    return {result.check: result for result in diagnose(task, [checks[name] for name in names])}


def first_failure(task: DiagnosisTask) -> Result:
    """Return the result of the first check that fails."""
    return next(result for result in diagnose(task, CHECKS) if result.status == "fail")
