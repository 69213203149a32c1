"""`agent`: run the agent of a block office until a signal stops it."""

from __future__ import annotations

import asyncio
import logging
import ssl
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from jharnet_monitor.agent.launch import can_update, launch, versions_in
from jharnet_monitor.agent.settings import AgentSettings
from jharnet_monitor.clock import SystemClock
from jharnet_monitor.commands.agent_process import become
from jharnet_monitor.commands.agent_process import run as run_agent
from jharnet_monitor.commands.options import LogLevel
from jharnet_monitor.commands.process import set_up_logging
from jharnet_monitor.config.agent_file import AgentFile
from jharnet_monitor.config.fields import check_agent_address, check_identifier, check_release_key
from jharnet_monitor.config.yaml_model import load_yaml_model
from jharnet_monitor.errors import UserError
from jharnet_monitor.security.enrolment import Enrolment
from jharnet_monitor.security.tokens import is_missing, read_secret

log = logging.getLogger(__name__)

LARGEST_STEP = 0.001
"""Seconds. A clock with larger steps measures no line."""


def agent(
    hub: Annotated[str | None, typer.Option(help="wss://HOST:9797/agent")] = None,
    office: Annotated[str | None, typer.Option(help="Id of the office this machine is in.")] = None,
    token_file: Annotated[Path | None, typer.Option(help="File with the office's token.")] = None,
    ca: Annotated[Path | None, typer.Option(help="The hub's CA certificate (PEM).")] = None,
    spool: Annotated[
        Path | None, typer.Option(help="Directory for results that are not yet sent to the hub.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="YAML file with these options.")
    ] = None,
    enrolment: Annotated[
        Path | None,
        typer.Option(help="File made by `jharnet-monitor enrol`: enrol first, unless done."),
    ] = None,
    into: Annotated[
        Path, typer.Option(help="Where enrolment writes agent.yaml, token and ca.pem.")
    ] = Path(),
    run: Annotated[bool, typer.Option(help="Run after enrolment, or only enrol.")] = True,
    log_level: LogLevel = "info",
) -> None:
    """Run the agent of a block office, which connects to the hub and takes part in its probes."""
    set_up_logging(log_level)
    _check_clock()
    if enrolment is not None:
        if config is not None:
            raise UserError("--config and --enrolment: give one of them")
        config = _enrolled(enrolment, into, only_enrol=not run)
        if not run:
            return
    given = {"hub": hub, "office": office, "token_file": token_file, "ca": ca, "spool": spool}
    settings = _agent_settings({k: v for k, v in given.items() if v is not None}, config)
    if settings.release_key is not None and settings.updates is not None and can_update():
        launch(versions_in(settings.updates), sys.argv[1:])
    become(settings, log_level)
    run_agent(settings, sys.argv[1:])


def _check_clock() -> None:
    """Refuse a Python that cannot time packets: before 3.13 its clock on Windows had steps of
    16 ms."""
    if sys.platform == "win32" and time.get_clock_info("monotonic").resolution > LARGEST_STEP:
        raise UserError(
            "this Python's clock has steps of 16 ms, too large to measure a line; "
            "install Python 3.13 for all users, and run install.cmd again"
        )


def _enrolled(path: Path, directory: Path, *, only_enrol: bool) -> Path:
    """The agent's file in `directory`, written by enrolment unless it is there.

    Where it is there and names another hub, office or key: raises `UserError` with `only_enrol`,
    else warns, because its owner may have changed it.
    """
    from jharnet_monitor.agent.enrolment import FILE, enrol  # noqa: PLC0415 - with aiohttp

    file = directory / FILE
    try:
        enrolment = Enrolment.of(read_secret(path))
    except UserError as error:
        if only_enrol or not file.exists():
            raise
        log.warning("%s; this machine is enrolled already", error)  # its code was used up anyway
        return file
    if not file.exists():
        return asyncio.run(enrol(enrolment, directory, SystemClock()))
    found = _agent_file(file)
    for key, wanted in enrolment.agent_settings().items():
        if found.get(key) != wanted:
            text = (
                f"{file}: this machine is enrolled already, with {key}: {found.get(key)}, and "
                f"{path} is for {wanted}. To enrol again, delete {file} and {directory / 'token'}"
            )
            if only_enrol:
                raise UserError(text)
            log.warning("%s", text)
    return file


def _agent_settings(given: dict[str, object], config: Path | None) -> AgentSettings:
    values = {**_agent_file(config), **given} if config is not None else given
    for key in ("hub", "office", "token_file"):
        if key not in values:
            raise UserError(f"--{key.replace('_', '-')} is missing: give it, or a --config FILE")
    for key, check in (("hub", check_agent_address), ("office", check_identifier)):
        try:
            check(str(values[key]))
        except ValueError as error:
            raise UserError(f"--{key}: {error}") from None
    address = str(values["hub"])
    if address.startswith("ws://"):
        log.warning("--hub %s: the token and all results cross the network unprotected", address)
    ca = values.get("ca")
    if ca is not None and is_missing(Path(str(ca))):
        raise UserError(f"--ca {ca}: no such file; `jharnet-monitor tls init` made ca.pem")
    waiting = Path(str(values.get("spool", _default_spool(str(values["office"])))))
    settings = AgentSettings(
        hub=address,
        office=str(values["office"]),
        token=_read_token(Path(str(values["token_file"]))),
        spool=waiting,
        ca=None if ca is None else Path(str(ca)),
        release_key=_release_key(values.get("release_key")),
        updates=Path(str(values.get("updates", waiting.with_name(f"{waiting.name}-updates")))),
    )
    try:
        settings.tls()
    except OSError as error:
        reason = "is not a PEM certificate" if isinstance(error, ssl.SSLError) else error.strerror
        remedy = "give the ca.pem that `jharnet-monitor tls init` made"
        raise UserError(f"--ca {ca}: {reason}; {remedy}") from None
    return settings


def _release_key(value: object) -> str | None:
    """The key that updates must be signed with; None, so that it takes none, if it is no key."""
    if value is None:
        return None
    try:
        return check_release_key(str(value))
    except ValueError as error:
        log.error("release_key: %s; until then this agent measures, but takes no updates", error)
        return None


def _default_spool(office: str) -> Path:
    """A directory of this office's own, unless this user's agent began in the one above it."""
    base = Path.home() / ".local/state/jharnet-agent"
    return base if (base / "spool.db").exists() else base / office


def _agent_file(path: Path) -> dict[str, object]:
    return load_yaml_model(path, AgentFile).model_dump(exclude_none=True)


def _read_token(path: Path) -> str:
    try:
        return read_secret(path)
    except UserError as error:
        remedy = "" if "`" in str(error) else "; `jharnet-monitor token OFFICE` prints one"
        raise UserError(f"--token-file {error}{remedy}") from None
