"""Answers to requests: whatever goes wrong becomes a sentence on the page, and nothing but that is logged."""

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from html import escape
from typing import Any

import gradio as gr

from nf_mnist.app.messages import one_line
from nf_mnist.errors import NFMnistError


def answers(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function, or a generator, that answers requests raise nothing but sentences for the page.

    An error that nobody foresaw is a line in the log and says only its kind on the page, since its message may hold
    paths of this machine.
    """

    @functools.wraps(function)
    def plain(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            raise _sentence(error) from None

    @functools.wraps(function)
    def streaming(*args: Any, **kwargs: Any) -> Iterator[Any]:
        try:
            yield from function(*args, **kwargs)
        except Exception as error:
            raise _sentence(error) from None

    return streaming if inspect.isgeneratorfunction(function) else plain


def _sentence(error: Exception) -> gr.Error:
    if isinstance(error, NFMnistError):
        return gr.Error(escape(one_line(error)), print_exception=False)
    print(f"error: {type(error).__name__}: {one_line(error)}", file=sys.stderr)
    return gr.Error(f"this went wrong: {type(error).__name__}; the server's log says more", print_exception=False)
