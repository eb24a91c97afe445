"""A diagnosis as one page of HTML with its pictures inside and no scripts."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from nf_mnist.diagnostics.base import FAIL, PASS, SKIP, WARN, Result


def page(about: Mapping[str, Any], results: Sequence[Result], pictures: Mapping[str, bytes]) -> str:
    """Return the page. Everything in it is escaped: names of layers and messages of exceptions are the user's own.

    Args:
        about: What was diagnosed, by name; ``flow`` is the title.
        results: Results in the order of the checks.
        pictures: PNG files by title.
    """
    environment = Environment(
        loader=PackageLoader("nf_mnist.diagnostics"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    statuses = [result.status for result in results]
    return environment.get_template("report.html").render(
        flow=about["flow"],
        about={name: value for name, value in about.items() if name != "flow"},
        counts={status: statuses.count(status) for status in (PASS, WARN, FAIL, SKIP)},
        results=results,
        pictures={title: base64.b64encode(content).decode() for title, content in pictures.items()},
    )
