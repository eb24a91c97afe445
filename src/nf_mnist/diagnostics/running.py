"""Runs checks one after the other."""

from collections.abc import Iterable, Iterator

from nf_mnist.diagnostics.access.isolation import TimeUp, time_limit
from nf_mnist.diagnostics.base import FAIL, Check, Result
from nf_mnist.diagnostics.task import DiagnosisTask

SECONDS = 60.0  # that a check may take


def diagnose(task: DiagnosisTask, checks: Iterable[Check], seconds: float = SECONDS) -> Iterator[Result]:
    """Run checks in the given order and yield the result of each.

    A check is skipped if one that it needs has failed or took too long, or was itself skipped for this reason.

    Args:
        task: The flow and the images to diagnose it with.
        checks: Checks to run, such as :data:`~nf_mnist.diagnostics.CHECKS`.
        seconds: Time that each check may take.
    """
    unsound: set[str] = set()
    for each in checks:
        missing = [need.name for need in each.needs if need.name in unsound]
        try:
            with time_limit(seconds):
                result = each.skip(f"says nothing without this: {missing[0]}") if missing else each.run(task)
            is_sound = not missing and result.status != FAIL
        except TimeUp:
            result, is_sound = each.skip(f"not done after {seconds:g} s; fewer images may do: n_images=100"), False
        if not is_sound:
            unsound.add(each.name)
        yield result
