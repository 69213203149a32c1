"""Small pieces of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

NOTE = "[//]: # (Written by `python -m jharnet_monitor.help.generate`: change the code instead.)"
"""A comment that no renderer shows."""


def code(names: Iterable[str]) -> str:
    """Names as code, with commas.

    >>> code(["up", "down"])
    '`up`, `down`'
    """
    return ", ".join(f"`{name}`" for name in names)


def cell(text: str) -> str:
    """Text for one cell of a table: one line, no bar that would end it.

    >>> cell("bar | and\\n\\nline")
    'bar \\\\| and line'
    """
    return " ".join(text.split()).replace("|", "\\|")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose cells are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines) + "\n"
