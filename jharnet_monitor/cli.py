"""`jharnet-monitor`: the commands, put together; the one place that sets up logging."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, ClassVar

import typer
from typer.exceptions import Abort, TyperException

from jharnet_monitor import __version__
from jharnet_monitor.commands.lazy import LazyGroup
from jharnet_monitor.commands.process import (
    errors_as_exit_codes,
    escape_what_cannot_be_printed,
    print_error,
)


class Commands(LazyGroup):
    """Every command, in the order of the help."""

    lazy: ClassVar[Mapping[str, str]] = {
        "run": "run:run",
        "agent": "agent:agent",
        "check-config": "setup:check_config",
        "token": "setup:token",
        "enrol": "enrol:enrol",
        "account": "account:app",
        "reload": "operate:reload",
        "probe": "operate:probe",
        "drill": "drill:drill",
        "whatif": "whatif:whatif",
        "maintenance": "maintenance:maintenance",
        "fault": "fault:fault",
        "doctor": "doctor:doctor",
        "demo": "demo:demo",
        "tls": "tls:app",
        "lab": "lab:app",
        "report": "report:app",
        "dossier": "dossier:app",
        "sign": "sign:app",
        "db": "db:app",
        "standby": "standby:app",
        "state": "state:app",
        "bundle": "bundle:bundle",
        "update": "update:app",
    }


app = typer.Typer(
    name="jharnet-monitor",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"jharnet-monitor {__version__}")
        raise typer.Exit


@app.callback()
def _about(
    _: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version, and end."
        ),
    ] = False,
) -> None:
    """Measures what every block office's link really delivers, and proves it."""


def main() -> None:
    """Run a command; an error is one line on stderr, and wrong usage ends with exit code 2."""
    # No plugin of pydantic is used; to look for one reads the metadata of every installed package.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    escape_what_cannot_be_printed()
    with errors_as_exit_codes():
        code = _run()
    raise SystemExit(code)


def _run() -> int:
    """The exit code of the command that the arguments name."""
    try:
        code = app(standalone_mode=False)
    except TyperException as error:
        if error.format_message():  # without a command the help was printed
            print_error(error.format_message())
        return 2
    except Abort:
        return 130
    return code if isinstance(code, int) else 0
