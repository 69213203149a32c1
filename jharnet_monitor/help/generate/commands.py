"""Writes the page of commands: every command, argument and option, as `--help` has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

import typer

from jharnet_monitor.cli import app
from jharnet_monitor.help.generate.markdown import NOTE, cell, table

PROGRAM = "jharnet-monitor"

EXAMPLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "whatif": ("potka --rate 4M", "potka --loss 0 --clients 2 --json"),
        "account add": ("deepak.kumar --role operate", "dio --role administer --generate"),
        "account end": ("deepak.kumar", "deepak.kumar --sessions"),
        "run": ("--config config/jharnet.yaml",),
        "agent": (
            "--hub wss://10.8.0.2:9797/agent --office potka --token-file token --ca ca.pem",
            "--config agent.yaml",
        ),
        "check-config": ("config/jharnet.yaml",),
        "token": ("potka", "--all", "--api", "potka --force"),
        "probe": ("latency potka", "bandwidth potka --path internet", "conference potka --json"),
        "drill": ("--profile 360p --minutes 2 --report",),
        "maintenance": (
            "potka --from 2026-11-25T14:00 --to 2026-11-25T16:00 --reason 'new switch'",
        ),
        "fault": (
            "potka",
            "potka add --docket JH/4711 --to 'NOC, Ranchi' --reported 2026-11-25T10:15",
            "potka update 1 --stop power --from 2026-11-25T11:00 --until 2026-11-25T13:00",
            "potka close 1",
        ),
        "demo": ("--minutes 3", "--history 12w --out demo-past"),
        "sign field": ("letter.hi.pdf --out letter-to-sign.pdf",),
        "sign with": ("letter.hi.pdf dc.p12 --out letter-signed.pdf --password-file password",),
        "sign verify": ("letter-signed.pdf --trust cca.pem",),
        "enrol": ("potka --hub https://10.8.0.2:9797", "--all"),
        "bundle": ("--out bundle.zip --ca config/tls/ca.pem",),
        "update publish": ("bundle.zip --fingerprint 3f1c-88ad-0b42-…",),
        "update offer": ("0.2.0", "0.2.0 potka boram"),
        "tls init": ("config/tls --name hub.example.in --ip 10.8.0.2", "config/tls --renew"),
        "lab up": ("config/lab.yaml",),
        "lab set": ("potka down.loss=2% up.rate=1Mbit/s",),
        "lab cut": ("potka power", "uplink"),
        "lab restore": ("potka power",),
        "lab exec": ("potka -- ping -c 3 10.8.0.2",),
        "report": ("--week 2026-W47 --lang hi,en --format pdf,xlsx --out reports",),
        "report send": ("--dry-run",),
        "dossier build": ("--from 2026-09-01 --to 2026-11-29 --out dossier.zip",),
        "dossier verify": ("dossier.zip",),
        "db backup": ("/media/usb/monitor.db",),
        "standby backup": ("/media/usb",),
        "state key": ("secrets/state.key",),
        "state report": ("--week 2026-W47",),
        "state verify": ("reports/state-2026-W47.en.pdf",),
        "standby restore": (
            "/srv/jharnet/east-singhbhum-20261126T210000Z --into /var/lib/jharnet-monitor",
        ),
    }
)
"""What stands under a command as its example, without the program's name."""

_INTRODUCTION = f"""\
# Commands

{NOTE}

Each is called as `jharnet-monitor COMMAND`. Every command takes `--help`;
`jharnet-monitor --version` prints which version is installed. `--json` is there where a
program may read the answer. The configuration is `--config`, else `$JHARNET_CONFIG`, else
`config/jharnet.yaml`.

| exit code | meaning |
| --- | --- |
| 0 | Done, and what was asked about is good. |
| 1 | What was asked about is bad (an outcome that is not `ok`, a changed record), or something \
failed that may pass (a database that does not answer yet). |
| 2 | Wrong usage or configuration. One line on standard error says what to change. |
| 130 | Interrupted by Ctrl-C. |
"""


def commands() -> Iterator[tuple[str, Any]]:
    """Every command and group with its name, such as `db verify`; a group before its commands."""
    group: Any = typer.main.get_command(app)
    for name in group.list_commands(None):
        yield from _walk(name, group.get_command(None, name))


def _walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield name, command
    if is_group(command):
        for below in command.list_commands(None):
            yield from _walk(f"{name} {below}", command.get_command(None, below))


def is_group(command: Any) -> bool:
    """Whether commands stand below it."""
    return hasattr(command, "list_commands")


def commands_page() -> str:
    """The page as Markdown."""
    parts = [_INTRODUCTION]
    for name, command in commands():
        parts.append(f"{'###' if ' ' in name else '##'} `{name}`\n")
        parts.append(command.help + "\n")
        if not is_group(command) or command.invoke_without_command:
            parts += _usage(name, command)
    return "\n".join(parts)


def _usage(name: str, command: Any) -> Iterator[str]:
    examples = EXAMPLES.get(name, ("",))
    lines = "\n".join(f"{PROGRAM} {name} {example}".rstrip() for example in examples)
    yield f"```sh\n{lines}\n```\n"
    shown = [p for p in command.params if not getattr(p, "hidden", False)]
    arguments = [p for p in shown if p.param_type_name == "argument"]
    options = [p for p in shown if p.param_type_name == "option"]
    for title, parameters in (("argument", arguments), ("option", options)):
        if parameters:
            rows = [(_spelled(p), cell(p.help or ""), _default(p)) for p in parameters]
            yield table((title, "meaning", "default"), rows)


def _spelled(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar or parameter.name.upper()}`".replace("|", "\\|")
    value = "" if parameter.is_flag else f" {_value(parameter)}"
    again = " …" if parameter.multiple else ""
    names = [*reversed(parameter.opts), *parameter.secondary_opts]
    return ", ".join(f"`{option}{value}{again}`" for option in names)


def _value(parameter: Any) -> str:
    annotation = parameter.type_descriptor.annotation
    kinds = {annotation, *get_args(annotation)}
    if Path in kinds:
        return "FILE"
    return "N" if kinds & {int, float} else "TEXT"


def _default(parameter: Any) -> str:
    if parameter.required:
        return "**required**"
    if parameter.default in (None, False, ""):
        return ""
    value = parameter.opts[0] if parameter.default is True else parameter.default
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"
