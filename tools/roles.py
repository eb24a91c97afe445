"""References in docstrings, such as ``:func:`~nf_mnist.data.mnist```, as links of the documentation's site.

An extension of griffe, which reads the docstrings for mkdocstrings. What is referred to must exist: the site is built
strictly.
"""

import contextlib
import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`(~?)([\w.]+)`")


class Roles(griffe.Extension):
    """Replaces every role in the docstrings of a package, and lets each name be shown once, in its own module."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        _replace(pkg)


def _replace(thing: griffe.Object) -> None:
    if thing.docstring is not None:
        thing.docstring.value = ROLE.sub(lambda role: _link(thing, role), thing.docstring.value)
    for member in thing.members.values():
        if isinstance(member, griffe.Object):  # not an alias
            _replace(member)
    if thing.is_init_module and thing.exports is not None:
        for name in thing.exports:
            _show(thing[str(name)])
        thing.exports = None


def _link(thing: griffe.Object, role: re.Match[str]) -> str:
    """Return a link to the target of a role, which is named in full or as in the code around the docstring."""
    target = role[2]
    title = target.rpartition(".")[2] if role[1] else target
    if target.partition(".")[0] == "torch":  # has a site of its own
        return f"`{title}`"
    found = _find(thing, target)
    if found is None:
        return f"[`{title}`][{target}]"  # an error of the strict build
    return f"[`{title}`][{_show(found).path}]"


def _show(found: Any) -> griffe.Object:
    """Let something be shown even if it has no docstring, as constants, which are shown for their values."""
    thing: griffe.Object = found.final_target if found.is_alias else found
    if thing.docstring is None:
        thing.docstring = griffe.Docstring("", parent=thing)
    return thing


def _find(thing: griffe.Object, target: str) -> Any:
    scopes: list[Any] = [thing.modules_collection]
    scope: griffe.Object | None = thing
    while scope is not None:
        scopes.append(scope)
        scope = scope.parent
    for place in scopes:
        with contextlib.suppress(KeyError):
            return place[target]
    return None
