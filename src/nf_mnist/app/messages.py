"""The message of an error in one line, for a user who can correct the mistake."""

import unicodedata

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from nf_mnist.errors import NFMnistError, first_line
from nf_mnist.overrides import override, pasteable

PLUGINS = ("hydra/launcher", "hydra/sweeper")


def printable(text: str) -> str:
    r"""Return a text in which characters that a terminal would obey, not show, are written as escapes such as \x1b."""
    return "".join(map(_escaped, text)) if not text.isprintable() else text


def _escaped(character: str) -> str:
    shown = character.isprintable() or character == "\n" or unicodedata.category(character) == "Zs"
    return character if shown else character.encode("unicode_escape", "surrogatepass").decode()


def one_line(error: BaseException) -> str:
    """Return the message of an error in one line, without characters that a terminal would obey."""
    return printable(_message(error))


def _message(error: BaseException) -> str:
    if isinstance(error.__cause__, NFMnistError):
        return _message(error.__cause__)
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override)
    if isinstance(error, OmegaConfBaseException):
        return first_line(error).rpartition(" raised while resolving interpolation: ")[2]
    if isinstance(error, HydraException):
        return _of_hydra(error)
    if isinstance(error, OSError) and not isinstance(error, NFMnistError):
        return f"cannot use {error.filename}: {error.strerror}" if error.filename else str(error)
    return " ".join(str(error).split())


def _unreadable(text: str) -> str:
    """Say how to write an override that Hydra's grammar cannot read: quoted, if that is what it lacks."""
    key, equal, value = text.partition("=")
    try:
        OverridesParser.create().parse_override(override(key, value))
    except HydraException:
        equal = ""
    if not (key and equal):
        return f"cannot read {text}: a setting is written key=value, such as optimizer.lr=1e-3"
    return f"cannot read {text}, since Hydra's grammar reserves some characters; quote a text: {pasteable(key, value)}"


def _of_hydra(error: HydraException) -> str:
    """Return the message of an error of Hydra, without the folders it has searched."""
    text = str(error).partition("\n    full_key")[0].partition("Config search path")[0]
    if isinstance(error.__cause__, OmegaConfBaseException):
        text = f"{text} {first_line(error.__cause__)}"
    if isinstance(error, MissingConfigException) and str(error.missing_cfg_file).startswith(PLUGINS):
        text = f"{text}; all but basic come with: pip install 'nf_mnist[sweep]'"
    return " ".join(text.split()).replace(" ;", ";")
