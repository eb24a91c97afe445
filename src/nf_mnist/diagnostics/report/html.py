"""A diagnosis as one page of HTML."""

from collections.abc import Mapping, Sequence
from typing import Any

from nf_mnist.diagnostics.base import FAIL, PASS, SKIP, WARN, Result
from nf_mnist.diagnostics.report.summary import answer
from nf_mnist.pages import render


def page(
    about: Mapping[str, Any],
    results: Sequence[Result],
    pictures: Mapping[str, bytes],
    commands: Mapping[str, str],
) -> str:
    """Return the page. Everything in it is escaped: names of layers and messages of exceptions are the user's own.

    Args:
        about: What was diagnosed, by name; ``flow`` is the title.
        results: Results in the order of the checks.
        pictures: PNG files by title.
        commands: Commands that do what the remedies say, by the names of the checks.
    """
    statuses = [result.status for result in results]
    return render(
        "diagnosis",
        f"Diagnosis of {about['flow']}",
        pictures,
        about={name: value for name, value in about.items() if name != "flow"},
        counts={status: statuses.count(status) for status in (PASS, WARN, FAIL, SKIP)},
        answer=answer(results),
        results=results,
        commands=commands,
    )
