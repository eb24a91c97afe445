"""The answer of a diagnosis in one sentence: what is wrong, where, how sure that is, and what to try."""

from collections.abc import Sequence

from nf_mnist.diagnostics.base import FAIL, WARN, Result

NOTHING = "Nothing is wrong with this flow that these checks can see."


def answer(results: Sequence[Result]) -> str:
    """Return one sentence about the first check that fails, or else the first that warns of something unusual.

    Checks come root causes first, so that later violations are often consequences of the first.

    Args:
        results: Results in the order of the checks.
    """
    found = [result for status in (FAIL, WARN) for result in results if result.status == status and not result.is_usual]
    if not found:
        not_done = [result.check for result in results if "not done after" in result.measured]
        return f"{NOTHING} Not done in time: {', '.join(not_done)}." if not_done else NOTHING
    first, n_others = found[0], len(found) - 1
    what = "Wrong" if first.status == FAIL else "Unusual"
    sure = "this is measured" if first.is_shown else "a frequent cause, which was not tested"
    others = f"; {n_others} further checks may follow from it" if n_others else ""
    return f"{what}: {first.cause} ({first.measured}; {sure}); try: {first.remedy}{others}."
