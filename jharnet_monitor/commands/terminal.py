"""Shows tables and progress: on a terminal as wide as it is, in a pipe or a file uncut."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

_UNCUT = 10_000
"""Columns; a table takes only what it needs."""


def plain_console(
    *, stderr: bool = False, highlight: bool = True, width: int | None = None
) -> Console:
    """A console that prints texts as they are: in what people name, such as `Potka [old]`, nothing
    is markup or the code of an emoji. A text of the program's own has its colour by `Text`."""
    return Console(stderr=stderr, highlight=highlight, width=width, markup=False, emoji=False)


def print_table(table: Table) -> None:
    """Print a table without leaving anything out: what is too long for its column is folded."""
    for column in table.columns:
        column.overflow = "fold"
    console = plain_console()
    if not console.is_terminal:
        console = plain_console(width=_UNCUT)
    console.print(table)
