"""Settings as they are written on a command line: ``key=value``, quoted for Hydra and for a shell."""

import re
import shlex

PLAIN = re.compile(r"(?!(?:null|true|false|nan|inf)$)[a-z_/][\w/.:+@-]*", re.ASCII | re.IGNORECASE)


def override(key: str, value: object) -> str:
    """Return the override that sets a key to a text, whatever characters the text holds.

    Hydra's grammar reserves most characters other than letters, digits and those of a path, and reads some words and
    digits as other kinds of values. A text with any of these is put in quotes, where only a few are left to escape.

    Args:
        key: The name of the setting.
        value: The text, or a path.
    """
    text = str(value)
    if PLAIN.fullmatch(text):
        return f"{key}={text}"
    literal = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)  # no interpolation
    quoted = re.sub(r'(\\*)("|\Z)', lambda end: end[1] * 2 + end[2].replace('"', '\\"'), literal)
    return f'{key}="{quoted}"'


def pasteable(key: str, value: object) -> str:
    """Return :func:`override` as it is typed into a shell, for messages that say what to do next."""
    return shlex.quote(override(key, value))
