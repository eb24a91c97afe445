"""Pages of HTML with their pictures inside and no scripts."""

import base64
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(template: str, title: str, pictures: Mapping[str, bytes], **values: Any) -> str:
    """Return a page. All values are escaped.

    Args:
        template: Name of a template in ``nf_mnist/templates``, without its ending.
        title: Title and heading of the page.
        pictures: PNG files by heading; they come last.
        values: The other variables of the template.
    """
    environment = Environment(
        loader=PackageLoader("nf_mnist"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    encoded = {name: base64.b64encode(content).decode() for name, content in pictures.items()}
    return environment.get_template(f"{template}.html").render(title=title, pictures=encoded, **values)
