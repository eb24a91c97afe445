"""What a check is: a property of a flow that is measured and compared with two thresholds.

:func:`check` turns a function of a :class:`~nf_mnist.diagnostics.task.DiagnosisTask` into a :class:`Check`;
:mod:`~nf_mnist.diagnostics.checks` lists all checks in their order, and
:func:`~nf_mnist.diagnostics.running.diagnose` runs them. Each check measures the size of an effect (the larger, the
worse). The docstring of its function explains the thresholds. There are no p-values: given enough images, they would
reject every trained flow.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from nf_mnist.diagnostics.access.messages import raised
from nf_mnist.diagnostics.task import DiagnosisTask

PASS, WARN, FAIL, SKIP = "pass", "warn", "fail", "skip"
UNTRAINED = "the flow is not trained, or hardly: it has no weights, or nearly all look like initial values"
TRAIN = "train the flow, or train it for longer, or load its weights"
CALL = "call both directions on a batch of images, and read the traceback"
NOT_A_NUMBER = "a number that is measured here is not finite; why is not known"
MIN_IMAGES = 20  # for means over images: the standard deviation of 20 normals is known to one sixth


class Measurement(NamedTuple):
    """What a check measured.

    Attributes:
        size: Size of the effect, in the unit of the check. NaN fails the check, and says nothing of its cause.
        text: What was measured, in words. If empty, the size and its unit are reported.
        cause: A more likely cause than the one stated by the check, if the measurement points to one.
        remedy: The remedy for that cause.
        is_shown: Whether the measurement shows that cause, rather than making it likely.
    """

    size: float
    text: str = ""
    cause: str = ""
    remedy: str = ""
    is_shown: bool = True


class Result(NamedTuple):
    """The outcome of a check.

    Attributes:
        check: Name of the check.
        status: ``pass``, ``warn``, ``fail``, or ``skip`` if the check was not measured.
        size: Size of the effect, in the unit of the check; None if the check was not measured.
        measured: What was measured, or why the check was skipped, in words.
        expected: What passes, in words.
        cause: The likely cause; empty unless the status is ``warn`` or ``fail``.
        remedy: What to try; empty unless the status is ``warn`` or ``fail``.
        is_shown: Whether an experiment or the measurement itself shows the cause; if not, it is a frequent one.
        overrides: Overrides of ``python -m nf_mnist.train`` that do what the remedy says, for models that have them.
        is_usual: Whether the violation is one that many good flows have, and no more than a warning.
    """

    check: str
    status: str
    size: float | None
    measured: str
    expected: str
    cause: str = ""
    remedy: str = ""
    is_shown: bool = False
    overrides: tuple[str, ...] = ()
    is_usual: bool = False


class NotMeasured(Exception):  # noqa: N818
    """Raised by a check that has nothing to measure; the message says why."""


@dataclass(frozen=True)
class Check:
    """A property that healthy flows have.

    Attributes:
        name: What is true of a healthy flow.
        measure: Function that measures by how much a flow violates the property.
        unit: Unit of the measured size; empty if the property either holds or does not.
        warn: Largest size that passes.
        fail: Largest size that is a warning; anything larger fails. It is infinite if a violation never fails.
        cause: The most frequent cause of a violation.
        remedy: What to try, in words that hold for flows of any origin.
        needs: Checks that must pass before this one means anything.
        is_cheap: Whether the check is fast enough to run at each validation of a training.
        of_trained: Whether only trained flows have the property, so that a lack of training explains a violation.
        overrides: Overrides of ``python -m nf_mnist.train`` that do what the remedy says, for models that have them.
        is_usual: Whether many good flows violate it, so that a violation is not what is wrong.
    """

    name: str
    measure: Callable[[DiagnosisTask], Measurement]
    unit: str
    warn: float
    fail: float
    cause: str
    remedy: str
    needs: "tuple[Check, ...]"
    is_cheap: bool
    of_trained: bool = False
    overrides: tuple[str, ...] = ()
    is_usual: bool = False

    @property
    def expected(self) -> str:
        """What passes, in words."""
        if not self.unit:
            return "holds"
        beyond = "" if math.isinf(self.fail) or self.fail == self.warn else f" (fails above {self.fail:g})"
        return f"at most {self.warn:g} {self.unit}{beyond}"

    @property
    def explanation(self) -> str:
        """What is measured and why the thresholds are what they are, on one line."""
        return " ".join((self.measure.__doc__ or "").split())

    def run(self, task: DiagnosisTask) -> Result:
        """Measure the property and compare it with the thresholds. An exception raised by the flow fails the check."""
        try:
            result = self._compare(self.measure(task))
            if result.cause and self.of_trained and task.is_untrained:
                return result._replace(cause=UNTRAINED, remedy=TRAIN, is_shown=True, overrides=())
            return result
        except NotMeasured as reason:
            return self.skip(str(reason))
        except Exception as error:  # a user's flow may fail in any way, and the other checks must still run
            return self._compare(Measurement(math.nan, raised(error), "the flow itself raises", CALL))

    def skip(self, reason: str) -> Result:
        """Return the result of a check that is not measured."""
        return Result(self.name, SKIP, None, reason, self.expected)

    def _compare(self, measurement: Measurement) -> Result:
        size = measurement.size
        status = PASS if size <= self.warn else WARN if size <= self.fail else FAIL
        result = Result(self.name, status, size, measurement.text or f"{size:.3g} {self.unit}", self.expected)
        if status == PASS:
            return result
        if math.isnan(size) and not measurement.cause:
            measurement = measurement._replace(cause=NOT_A_NUMBER, remedy=CALL, is_shown=False)
        is_shown = bool(measurement.cause) and measurement.is_shown
        remedy = measurement.remedy if measurement.cause else self.remedy
        overrides = () if measurement.remedy else self.overrides
        cause = measurement.cause or self.cause
        return result._replace(
            cause=cause,
            remedy=remedy or self.remedy,
            is_shown=is_shown,
            overrides=overrides,
            is_usual=self.is_usual,
        )


def check(
    name: str,
    *,
    unit: str,
    warn: float,
    fail: float,
    cause: str,
    remedy: str,
    needs: tuple[Check, ...],
    is_cheap: bool = False,
    of_trained: bool = False,
    overrides: tuple[str, ...] = (),
    is_usual: bool = False,
) -> Callable[[Callable[[DiagnosisTask], Measurement]], Check]:
    """Turn the function that measures a property into a :class:`Check`, whose attributes the arguments are."""

    def decorate(measure: Callable[[DiagnosisTask], Measurement]) -> Check:
        return Check(name, measure, unit, warn, fail, cause, remedy, needs, is_cheap, of_trained, overrides, is_usual)

    return decorate


def worst(measurements: Sequence[Measurement]) -> Measurement:
    """Return the measurement of the largest size, where NaN is larger than any number."""
    return max(measurements, key=lambda one: math.inf if math.isnan(one.size) else one.size)


def require_images(n_images: int) -> None:
    """Require enough images to take means and standard deviations over them.

    Raises:
        NotMeasured: If there are so few images that these would mostly be chance.
    """
    if n_images < MIN_IMAGES:
        raise NotMeasured(f"of {n_images} images this is mostly chance; look at more: n_images=200 batch_size=100")
