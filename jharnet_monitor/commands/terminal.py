"""Shows tables and progress: on a terminal as wide as it is, in a pipe or a file uncut."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

_UNCUT = 10_000
"""Columns; a table takes only what it needs."""


def print_table(table: Table) -> None:
    """Print a table without leaving anything out: what is too long for its column is folded."""
    for column in table.columns:
        column.overflow = "fold"
    console = Console()
    if not console.is_terminal:
        console = Console(width=_UNCUT)
    console.print(table)
