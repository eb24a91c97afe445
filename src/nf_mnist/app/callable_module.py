"""Modules of commands that are functions, too: ``nf_mnist.diagnose`` is a command and a call for notebooks.

A package cannot hold a function beside a module of the same name: importing the module would replace the function.
"""

import sys
import types
from collections.abc import Callable
from typing import Any


def make_callable(name: str, function: Callable[..., Any]) -> None:
    """Let the call of a module be the call of a function, whose signature and documentation the call has.

    Args:
        name: ``__name__`` of the module, which is being imported.
        function: The function.
    """
    kind = type("CallableModule", (types.ModuleType,), {"__call__": staticmethod(function)})
    sys.modules[name].__class__ = kind
