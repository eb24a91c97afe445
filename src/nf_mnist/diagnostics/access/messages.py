"""How an exception of a user's flow is reported."""


def first_line(error: BaseException) -> str:
    """Return the first line of the message of an exception; empty if it has none."""
    return (str(error).splitlines() or [""])[0]


def raised(error: BaseException) -> str:
    """Return the class of an exception and the first line of its message."""
    return f"raises {type(error).__name__}: {first_line(error)}"
