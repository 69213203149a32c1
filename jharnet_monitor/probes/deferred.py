"""Functions whose modules are imported only when they are called."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True, slots=True)
class Deferred:
    """A function given as `module:function`; the module is imported at the first call.

    >>> Deferred("math:sqrt")(9)
    3.0
    """

    target: str

    def load(self) -> Callable[..., Any]:
        """Import the module and return the function."""
        module, _, function = self.target.partition(":")
        loaded: Callable[..., Any] = getattr(import_module(module), function)
        return loaded

    def __call__(self, *arguments: Any) -> Any:
        """Call the function with these arguments."""
        return self.load()(*arguments)


def load_all(functions: Iterable[object]) -> None:
    """Import the modules of those of the functions that are deferred."""
    for function in functions:
        if isinstance(function, Deferred):
            function.load()
