"""The riddle about a log-determinant that leaves out the mask."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from nf_mnist.bijectors import AffineCoupling
from nf_mnist.diagnostics import CHECKS, diagnose
from nf_mnist.flows import Flow
from nf_mnist.metrics import bits_per_dim
from nf_mnist.training.module import FlowModule
from riddles.runs import Outcome, Riddle, train

MAP = ("inverse undoes forward", "log-determinants of both directions", "log-determinant is that of the Jacobian")


class LogDetWithoutMask(AffineCoupling):
    """A faulty coupling: its log-determinant also counts the log-scales of elements that pass unchanged."""

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return super().forward_and_log_det(x, context)[0], self._unmasked(x, context)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return super().inverse_and_log_det(z, context)[0], -self._unmasked(z, context)

    def _unmasked(self, values: Tensor, context: Tensor | None) -> Tensor:
        raw = self._predicted_by(self.scale_net, values, context)
        return self.scale_activation(raw).flatten(1).sum(1)


def log_det_without_mask(riddle: Riddle) -> Outcome:
    """Answer riddle 2: train with the bug, then score the same weights without it."""
    wrong, right = train(riddle.name, prepare=_plant), train(riddle.name)
    task = wrong.task()
    results = {one.check: one for one in diagnose(task, [check for check in CHECKS if check.name in MAP])}
    claimed = bits_per_dim(task.scores.log_ratio.mean(), 0.0, 784).item()
    with _repaired(wrong.flow):
        true = bits_per_dim(wrong.task().scores.log_ratio.mean(), 0.0, 784).item()
    correct = bits_per_dim(right.task().scores.log_ratio.mean(), 0.0, 784).item()
    statuses = [results[name].status for name in MAP]
    metrics = {
        "claimed_bpd": claimed,
        "true_bpd": true,
        "bpd_without_the_bug": correct,
        "checks": {name: one._asdict() for name, one in results.items()},
    }
    found = (
        f"claimed {claimed:.2f} bits per dimension, true {true:.2f}, and {correct:.2f} without the bug; checks: round "
        f"trip {statuses[0]}, both directions agree {statuses[1]}, Jacobian {statuses[2]} "
        f"({results[MAP[2]].measured.partition(';')[0]})"
    )
    is_confirmed = statuses[0] == "pass" and statuses[2] == "fail" and claimed < true
    return Outcome("confirmed" if is_confirmed else "refuted", found, metrics)


def _plant(module: FlowModule) -> None:
    for part in module.flow.modules():
        if type(part) is AffineCoupling:
            part.__class__ = LogDetWithoutMask


@contextmanager
def _repaired(flow: Flow) -> Iterator[None]:
    faulty: list[AffineCoupling] = [part for part in flow.modules() if type(part) is LogDetWithoutMask]
    for part in faulty:
        part.__class__ = AffineCoupling
    yield
    for part in faulty:
        part.__class__ = LogDetWithoutMask
