"""`enrol`: make what an office's agent needs on its first contact."""

from __future__ import annotations

import hashlib
import os
import ssl
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.commands.acts import record_act
from jharnet_monitor.commands.options import DEFAULT_CONFIG, ConfigFile
from jharnet_monitor.commands.setup import hub_address
from jharnet_monitor.config import Config, Office
from jharnet_monitor.config.load import load_config
from jharnet_monitor.errors import UserError, file_error
from jharnet_monitor.handover.releases import Releases
from jharnet_monitor.model import format_utc
from jharnet_monitor.security.enrolment import LONGEST, Enrolment, issue
from jharnet_monitor.security.tokens import make_token, write_secret
from jharnet_monitor.web.enrolment import authority_file
from jharnet_monitor.wire.client import login_name


def enrol(
    office: Annotated[str | None, typer.Argument(help="Id of the office.")] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    every: Annotated[bool, typer.Option("--all", help="Every office with an agent.")] = False,
    out: Annotated[
        Path, typer.Option(help="Directory for OFFICE.enrolment, which goes to the office.")
    ] = Path("enrolments"),
    hub: Annotated[
        str | None, typer.Option(help="The hub's address as offices reach it, https://HOST:9797.")
    ] = None,
    days: Annotated[float, typer.Option(help="For how many days the code works.")] = 14.0,
) -> None:
    """Make a one-time enrolment for an office's agent, which swaps it for a token of its own.

    The office keeps its present token until the code is used. A new code replaces an older one.
    """
    settings = load_config(config, files=False)
    if (office is None) is not every:
        raise UserError("name one OFFICE, or --all")
    if not 0 < days <= LONGEST.days:
        raise UserError(f"--days {days:g}: must be more than 0 and at most {LONGEST.days}")
    base = hub_address(settings, hub)
    if urlsplit(base).path.strip("/"):
        raise UserError(
            f"{base}: agents connect to the hub itself, without a path; give its address, "
            "--hub https://HOST:9797"
        )
    authority = _fingerprint(settings)
    key = Releases(settings.updates.directory).key()
    expires = SystemClock().now() + timedelta(days=days)
    for one, file in _chosen(settings, config, office):
        path = out / f"{one.id}.enrolment"
        blank = Enrolment(base, one.id, make_token(), authority, format_utc(expires), key)
        _issue_into(path, blank, file, expires)
        record_act(settings, "enrolment made", {"office": one.id, "expires": format_utc(expires)})
        print(f"{path}\n  at the office: jharnet-monitor agent --enrolment {path.name}")


def _issue_into(path: Path, blank: Enrolment, token_hash_file: Path, expires: datetime) -> None:
    """Make the code and write the office's file; raises `UserError`.

    An earlier code stops working only once a file as long as the office's could be written.
    """
    scratch = path.with_name(f".{path.name}.part")
    if path.is_dir():
        raise UserError(f"{path}: is a directory; give another --out")
    write_secret(scratch, blank.to_line() + "\n", replace=True)
    try:
        code = issue(token_hash_file, by=f"user {login_name()}", expires=expires)
        with scratch.open("r+", encoding="ascii") as file:
            file.write(replace(blank, code=code).to_line() + "\n")
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except OSError as error:
        raise file_error(f"{path}: cannot be written", error) from error
    finally:
        scratch.unlink(missing_ok=True)


def _chosen(settings: Config, path: Path, office: str | None) -> Iterator[tuple[Office, Path]]:
    if office is not None and office not in {one.id for one in settings.offices}:
        known = ", ".join(one.id for one in settings.offices)
        raise UserError(f"{path}: no office {office}; there are {known}")
    for one in settings.offices:
        if one.agent is not None and office in (None, one.id):
            yield one, one.agent.token_hash_file
        elif one.id == office:
            raise UserError(f"{path}: {one.id} has no agent; add `agent: {{token_hash_file: "
                            f"secrets/{one.id}}}` to the office")  # fmt: skip


def _fingerprint(settings: Config) -> str | None:
    """The SHA-256 of the authority's certificate; None if the system's authorities are used."""
    path = authority_file(settings)
    if path is None or not path.is_file():
        return None
    try:
        text = path.read_text("ascii")
        if text.count(ssl.PEM_HEADER) > 1:
            raise UserError(
                f"{path}: holds several certificates, and agents trust one; leave only that of "
                "the authority that signed the hub's"
            )
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(text)).hexdigest()
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as a certificate: {error}") from None
