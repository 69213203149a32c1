"""`jharnet-monitor`: the commands, put together; the one place that sets up logging."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import ClassVar

import typer
from typer.exceptions import Abort, TyperException

from jharnet_monitor.commands.lazy import LazyGroup
from jharnet_monitor.commands.process import errors_as_exit_codes


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


@app.callback()
def _about() -> None:
    """Measures what every block office's link really delivers, and proves it."""


def main() -> None:
    """Run a command; an error is one line on stderr, and wrong usage ends with exit code 2."""
    # No plugin of pydantic is used; to look for one reads the metadata of every installed package.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        with errors_as_exit_codes():
            code = app(standalone_mode=False)
    except TyperException as error:
        if error.format_message():  # without a command the help was printed
            print(f"error: {error.format_message()}", file=sys.stderr)
        raise SystemExit(2) from None
    except Abort:
        raise SystemExit(130) from None
    raise SystemExit(code if isinstance(code, int) else 0)
