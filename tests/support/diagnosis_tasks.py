"""What tests of laws share: small subjects, flows trained for seconds, and verdicts by name."""

import torch
from torch import nn

from nf_mnist.data import DEQUANTIZERS, Images, draw_noise
from nf_mnist.diagnostics import CHECKS, Batch, DiagnosisTask, Result, as_flow, diagnose, make_batch
from nf_mnist.flows import Flow


def bars(n: int, side: int) -> Images:
    """Images of a vertical bar at a random place, in a random grey."""
    levels = torch.zeros(n, 1, side, side, dtype=torch.uint8)
    for image in levels:
        column = int(torch.randint(1, side - 3, ()))
        image[0, 1:-1, column : column + 2] = int(torch.randint(100, 256, ()))
    return Images(levels, torch.zeros(n, dtype=torch.long))


def trained(flow: Flow, images: Images, n_steps: int) -> Flow:
    optimizer = torch.optim.Adam(flow.train().parameters(), 5e-3)
    for _ in range(n_steps):
        rows = torch.randint(len(images.levels), (32,))
        x, _ = DEQUANTIZERS["uniform"]()(images.levels[rows], draw_noise(images.levels[rows]))
        context = flow.training_context(images.levels[rows], images.labels[rows])
        optimizer.zero_grad()
        (-flow.log_prob(x, context).mean()).backward()
        nn.utils.clip_grad_norm_(flow.parameters(), 100)
        optimizer.step()
    return flow.eval()


def subject(flow: Flow, dequantizer: str = "uniform", n: int = 100) -> DiagnosisTask:
    chosen = DEQUANTIZERS[dequantizer]()
    batch, train = (make_batch(flow, chosen, bars(n, flow.event_shape[1]), n, seed) for seed in (0, 1))
    return DiagnosisTask(flow, batch, train, chosen.is_discrete)


def events_of_four(built: object) -> DiagnosisTask:
    levels = torch.randint(256, (6, 4), dtype=torch.uint8)
    x = (levels + torch.rand(6, 4)) / 256
    return DiagnosisTask(as_flow(built, (4,)), Batch(x, torch.zeros(6), levels, None))


def verdicts(of: DiagnosisTask, names: list[str] | None = None) -> dict[str, Result]:
    return {verdict.law: verdict for verdict in diagnose(of, [CHECKS[name] for name in names or CHECKS])}


def first_broken(of: DiagnosisTask) -> Result:
    return next(verdict for verdict in diagnose(of, CHECKS.values()) if verdict.status == "fail")
