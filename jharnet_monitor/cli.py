"""`jharnet-monitor`: the commands, put together; the one place that sets up logging."""

from __future__ import annotations

import sys

import typer

from jharnet_monitor.errors import UserError

app = typer.Typer(
    name="jharnet-monitor",
    help="Measures what every block office's link really delivers, and proves it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def main() -> None:
    """Run a command; wrong usage or configuration is one line on stderr and exit code 2."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
