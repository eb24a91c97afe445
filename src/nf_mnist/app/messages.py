"""What an error has to say to a user, in one line."""

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from nf_mnist.errors import NFMnistError


def one_line(error: BaseException) -> str:
    """Say in one line what an error that a user can mend has to say."""
    if isinstance(error.__cause__, NFMnistError):
        return one_line(error.__cause__)
    if isinstance(error, OmegaConfBaseException):
        return str(error).splitlines()[0].rpartition(" raised while resolving interpolation: ")[2]
    if isinstance(error, HydraException):
        causes = [error, error.__cause__] if isinstance(error.__cause__, OmegaConfBaseException) else [error]
        text = " ".join(str(cause).partition("\n    full_key")[0] for cause in causes)
        text = " ".join(text.partition("Config search path")[0].split())
        needs_extra = "hydra/launcher" in text or "hydra/sweeper" in text
        return text + "; all but basic come with: pip install 'nf_mnist[sweep]'" * needs_extra
    if isinstance(error, OSError) and not isinstance(error, NFMnistError):
        return f"cannot use {error.filename}: {error.strerror}" if error.filename else str(error)
    return " ".join(str(error).split())
