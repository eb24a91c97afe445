"""A law: one thing to measure of a flow, how much of it is too much, and what to do then.

``@law(...)`` puts a function of a :class:`~nf_mnist.diagnostics.task.DiagnosisTask` into :data:`CHECKS`;
:func:`diagnose` asks them in the order in which they were written: what later laws rest on comes first. Each measures
an effect, the larger the worse, and compares it with two thresholds that its docstring explains. There are no p-values:
with enough images these reject every trained flow.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from nf_mnist.diagnostics.task import DiagnosisTask

PASS, WARN, FAIL, SKIP = "pass", "warn", "fail", "skip"


class Measurement(NamedTuple):
    """What a law measured.

    Attributes:
        size: Of the effect, in the unit of the law; what is no number fails.
        figure: What was measured, in words; empty for the size and its unit.
        cause: A likelier cause than that of the law, if the measurement tells.
        cure: The cure for that.
    """

    size: float
    figure: str = ""
    cause: str = ""
    cure: str = ""


class NotMeasured(Exception):  # noqa: N818
    """Raised by a law that has nothing to measure, with the reason."""


@dataclass(frozen=True)
class Check:
    """A law.

    Attributes:
        name: What holds of a healthy flow.
        measure: Takes a subject.
        unit: Of the size.
        warn: The largest size that passes.
        fail: The largest size that is a warning.
        cause: What most often makes a flow break it.
        cure: What to try: overrides of ``python -m nf_mnist.train``, or a change of code.
        needs: Names of laws without which it says nothing.
        is_cheap: Whether it can be measured at each validation of a training.
    """

    name: str
    measure: Callable[[DiagnosisTask], Measurement]
    unit: str
    warn: float
    fail: float
    cause: str
    cure: str
    needs: tuple[str, ...]
    is_cheap: bool

    @property
    def expected(self) -> str:
        """What passes, in words."""
        if not self.unit:
            return "kept"
        beyond = "" if math.isinf(self.fail) or self.fail == self.warn else f" (fails above {self.fail:g})"
        return f"at most {self.warn:g} {self.unit}{beyond}"


class Result(NamedTuple):
    """The outcome of a law: ``pass``, ``warn``, ``fail``, or ``skip`` where it says nothing; with cause and cure."""

    law: str
    status: str
    size: float | None
    figure: str
    expected: str
    cause: str = ""
    cure: str = ""


CHECKS: dict[str, Check] = {}

SOUND = ("shapes", "values are finite", "inputs are left alone")
ENOUGH = 20  # images for means over them: the standard deviation of 20 normals is known to a sixth


def law(
    name: str,
    *,
    unit: str,
    warn: float,
    fail: float,
    cause: str,
    cure: str,
    needs: tuple[str, ...] = SOUND,
    is_cheap: bool = False,
) -> Callable[[Callable[[DiagnosisTask], Measurement]], Callable[[DiagnosisTask], Measurement]]:
    """Put the function that measures a law into :data:`CHECKS`; see :class:`Check`."""

    def register(measure: Callable[[DiagnosisTask], Measurement]) -> Callable[[DiagnosisTask], Measurement]:
        CHECKS[name] = Check(name, measure, unit, warn, fail, cause, cure, needs, is_cheap)
        return measure

    return register


def diagnose(subject: DiagnosisTask, laws: Iterable[Check]) -> Iterator[Result]:
    """Yield the verdict of each law, in order.

    A law that rests on one that failed, or that was itself not measured for that reason, is skipped. An exception is
    what is wrong with the flow: the law fails, and the next one follows.
    """
    unsound: set[str] = set()
    for one in laws:
        verdict = judge(one, subject, unsound)
        if verdict.status == FAIL or (verdict.status == SKIP and unsound & set(one.needs)):
            unsound.add(one.name)
        yield verdict


def judge(one: Check, subject: DiagnosisTask, unsound: Collection[str] = ()) -> Result:
    """Measure one law and compare with its thresholds."""
    missing = [name for name in one.needs if name in unsound]
    if missing:
        return Result(one.name, SKIP, None, f"says nothing while this is broken: {missing[0]}", one.expected)
    try:
        found = one.measure(subject)
    except NotMeasured as reason:
        return Result(one.name, SKIP, None, str(reason), one.expected)
    except Exception as error:  # a user's flow may fail in any way, and the other laws go on
        found = Measurement(
            float("nan"), f"raises {type(error).__name__}: {first_line(error)}", "the flow itself raises"
        )
    status = PASS if found.size <= one.warn else WARN if found.size <= one.fail else FAIL
    figure = found.figure or f"{found.size:.3g} {one.unit}"
    if status == PASS:
        return Result(one.name, status, found.size, figure, one.expected)
    return Result(one.name, status, found.size, figure, one.expected, found.cause or one.cause, found.cure or one.cure)


def check_enough(n_images: int) -> None:
    """Check the number of images of which means and deviations are to be taken.

    Raises:
        NotMeasured: If it is so small that these say more of chance than of the flow.
    """
    if n_images < ENOUGH:
        raise NotMeasured(f"of {n_images} images this is mostly chance; look at more: n_images=200 batch_size=100")


def first_line(error: Any) -> str:
    """Return the first line of an error's message."""
    return (str(error).splitlines() or [""])[0]
