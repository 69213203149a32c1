"""`account add|end|list`: the named accounts of people who act on the hub."""

from __future__ import annotations

import getpass
import json
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.table import Table

from jharnet_monitor.commands.acts import record_act
from jharnet_monitor.commands.options import DEFAULT_CONFIG, AsJson, ConfigFile
from jharnet_monitor.commands.terminal import print_table
from jharnet_monitor.config import Config
from jharnet_monitor.config.load import load_config
from jharnet_monitor.errors import UserError
from jharnet_monitor.file_lock import locked
from jharnet_monitor.i18n.formats import moment
from jharnet_monitor.i18n.words import words
from jharnet_monitor.model import format_utc, parse_utc
from jharnet_monitor.security.accounts import (
    LEAST_PASSWORD,
    Account,
    Role,
    make_account,
    read_accounts,
    without_sessions,
    write_accounts,
)
from jharnet_monitor.security.tokens import read_secret

app = typer.Typer(help="Named accounts of people who act on the hub.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the account, such as deepak.kumar.")]


@app.callback()
def accounts() -> None:
    """Named accounts of people who act on the hub."""


@app.command()
def add(
    name: Name,
    role: Annotated[
        str,
        typer.Option(
            help="read, operate (probes, drills, maintenance, faults, papers) or administer."
        ),
    ] = Role.OPERATE.value,
    password_file: Annotated[
        Path | None, typer.Option(help="File with the password, mode 600; default: ask for it.")
    ] = None,
    generate: Annotated[
        bool, typer.Option("--generate", help="Make a password and print it once.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace role and password; its sessions end.")
    ] = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Add an account; a running hub lets it in at once."""
    _, path, known = _read(config)
    _check_free(known, name, path, force=force)
    if role not in list(Role):
        raise UserError(f"--role {role}: must be {', '.join(Role)}")
    password = _password(name, password_file, generate=generate)
    account = make_account(name, Role(role), password, format_utc(datetime.now(UTC)))
    with _changed(config) as (settings, path, known):
        _check_free(known, name, path, force=force)  # others may have added it meanwhile
        known[name] = account
        if generate:  # before it is stored: no account has a password that nobody could read
            print(f"password  {password}", flush=True)
    record_act(settings, "account added", {"account": name, "role": role})
    print(f"{name}: may {role}; sign-in at /signin")


def _password(name: str, file: Path | None, *, generate: bool) -> str:
    if file is not None and generate:
        raise UserError("give --password-file or --generate, not both")
    if generate:
        return _generated(name)
    if file is not None:
        return read_secret(file)
    try:
        first = _ask(f"Password (at least {LEAST_PASSWORD} characters): ")
        again = _ask("Once more: ")
    except EOFError:
        raise UserError(
            "there is nobody to ask for the password; give --password-file or --generate"
        ) from None
    if first != again:
        raise UserError("the two passwords differ")
    return first


def _generated(name: str) -> str:
    """A new password, without the account's name in it."""
    while True:
        password = secrets.token_urlsafe(15)
        if name not in password.lower():
            return password


def _ask(prompt: str) -> str:
    """What a person enters unseen, or the next line of a pipe; raises `EOFError`."""
    if _has_terminal():
        return getpass.getpass(prompt)
    line = "" if sys.stdin is None else sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")


def _has_terminal() -> bool:
    """Whether `getpass` finds a terminal, from which it asks."""
    try:
        with Path("/dev/tty").open("rb"):
            return True
    except OSError:
        return sys.stdin is not None and sys.stdin.isatty()


@app.command()
def end(
    name: Name,
    sessions: Annotated[
        bool, typer.Option("--sessions", help="End its sessions only; it may sign in again.")
    ] = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """End an account and all of its sessions, at once."""
    with _changed(config) as (settings, path, known):
        account = _known(known, name, path)
        if sessions:
            known[name] = without_sessions(account)
        else:
            del known[name]
    record_act(settings, "sessions ended" if sessions else "account ended", {"account": name})
    print(f"{name}: {'all sessions are ended' if sessions else 'is ended'}")


@app.command("list")
def list_(config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """List the accounts with their roles."""
    settings, _, known = _read(config)
    if as_json:
        entries = [
            {"name": one.name, "role": one.role, "added_at": one.added_at} for one in known.values()
        ]
        print(json.dumps(entries, indent=2))
        return
    table = Table("account", "role", "since")
    zone = ZoneInfo(settings.district.timezone)
    for one in known.values():
        table.add_row(one.name, one.role, moment(parse_utc(one.added_at), zone, words("en")))
    if known:
        print_table(table)
    else:
        print("no accounts yet; `account add NAME` makes one")


def _read(config: Path) -> tuple[Config, Path, dict[str, Account]]:
    """The configuration, the file of accounts that it names, and the accounts in it."""
    settings = load_config(config, files=False)
    path = _file(settings, config)
    return settings, path, read_accounts(path)


@contextmanager
def _changed(config: Path) -> Iterator[tuple[Config, Path, dict[str, Account]]]:
    """Like `_read`, and the accounts are written back at the end.

    No other command changes them meanwhile. The lock is on the configuration, as the file of
    accounts does not exist before the first one.
    """
    with locked(config):
        settings, path, known = _read(config)
        yield settings, path, known
        write_accounts(path, known)


def _file(settings: Config, path: Path) -> Path:
    file = settings.hub.accounts_file
    if file is None:
        raise UserError(f"{path}: hub.accounts_file: is not set; add it, such as secrets/accounts")
    return file


def _check_free(known: dict[str, Account], name: str, path: Path, *, force: bool) -> None:
    if name in known and not force:
        raise UserError(f"{path}: has the account {name} already; give --force to replace it")


def _known(known: dict[str, Account], name: str, path: Path) -> Account:
    if name not in known:
        raise UserError(f"{path}: has no account {name}; there are {', '.join(known) or 'none'}")
    return known[name]
