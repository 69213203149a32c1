"""`jharnet-monitor`: the commands, put together; the one place that sets up logging."""

from __future__ import annotations

import sys

import typer
from typer.exceptions import Abort, TyperException

from jharnet_monitor.commands import daemons, db, demo, doctor, hand, lab, mail, report, setup, tls
from jharnet_monitor.errors import UserError

app = typer.Typer(
    name="jharnet-monitor",
    help="Measures what every block office's link really delivers, and proves it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

for command in (
    daemons.run,
    daemons.agent,
    setup.check_config,
    setup.token,
    hand.reload,
    hand.probe,
    hand.drill,
    hand.maintenance,
    doctor.doctor,
    demo.demo,
):
    app.command()(command)
app.add_typer(tls.app, name="tls")
app.add_typer(lab.app, name="lab")
app.add_typer(report.app, name="report")
report.app.command()(mail.send)
app.add_typer(db.app, name="db")


def main() -> None:
    """Run a command; wrong usage or configuration is one line on stderr and exit code 2."""
    try:
        code = app(standalone_mode=False)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except TyperException as error:
        if error.format_message():  # without a command the help was printed
            print(f"error: {error.format_message()}", file=sys.stderr)
        raise SystemExit(2) from None
    except Abort:
        raise SystemExit(130) from None
    raise SystemExit(code if isinstance(code, int) else 0)
