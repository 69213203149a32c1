"""`check-config` and `token`: the commands for setting up the hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from jharnet_monitor.commands.acts import record_act
from jharnet_monitor.commands.options import DEFAULT_CONFIG, AsJson, ConfigFile
from jharnet_monitor.commands.terminal import plain_console
from jharnet_monitor.config import Config, Office
from jharnet_monitor.config.addresses import hub_url
from jharnet_monitor.config.fields import check_page_address
from jharnet_monitor.config.load import load_config
from jharnet_monitor.config.warnings import warnings
from jharnet_monitor.errors import TemporaryError, UserError
from jharnet_monitor.i18n import formats
from jharnet_monitor.probes.budget import budget_warnings
from jharnet_monitor.security.tokens import hash_token, make_token, write_secret


def check_config(
    file: Annotated[
        Path, typer.Argument(envvar="JHARNET_CONFIG", help="The hub's YAML file.")
    ] = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Check a configuration: a summary and exit code 0, or the first error and exit code 2."""
    config = load_config(file)
    found = [*warnings(config, datetime.now(UTC)), *budget_warnings(config)]
    console = plain_console()
    if as_json:
        console.print_json(data={"ok": True, "offices": len(config.offices), "warnings": found})
        return
    console.print(_summary(config))
    for warning in found:
        console.print(Text("warning:", "yellow"), warning, soft_wrap=True)
    console.print(Text("ok:", "green"), str(file), soft_wrap=True)


def _summary(config: Config) -> Table:
    table = Table(title=f"{config.district.name} ({config.district.name_hi})", show_header=False)
    probes, hours = config.probes, config.district.office_hours
    contracts = [o for o in config.offices if o.link is not None]
    agents = [o for o in config.offices if o.agent is not None]
    calls = [*probes.conference.at]
    if probes.conference.every:
        calls.append(f"every {_time(probes.conference.every)}")
    table.add_row("offices", f"{len(config.offices)}, {len(agents)} with an agent's token, "
                             f"{len(contracts)} with a contract")  # fmt: skip
    table.add_row("hub", f"{'https' if config.hub.tls else 'http'}://{config.hub.listen}")
    table.add_row("database", config.hub.database)
    table.add_row("uplink", formats.rate(config.hub.uplink.contracted))
    table.add_row("office hours", f"{hours.days} {hours.from_}-{hours.to}, holidays of "
                                  f"{hours.holidays or 'nowhere'}")  # fmt: skip
    table.add_row("latency", f"{probes.latency.packets} packets in {_time(probes.latency.every)}")
    table.add_row("bandwidth", f"every {_time(probes.bandwidth.every)}")
    table.add_row("conference", f"{probes.conference.profile} at {', '.join(calls) or 'no time'}")
    table.add_row("budget", f"{formats.size(config.budget)} a day and office")
    table.add_row("report", f"{', '.join(config.report.languages)} to "
                            f"{', '.join(config.report.to) or 'nobody'}")  # fmt: skip
    return table


def _time(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def token(
    office: Annotated[str | None, typer.Argument(help="Id of the office.")] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    hub: Annotated[
        str | None, typer.Option(help="The hub's address as offices reach it, https://HOST:9797.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every office that has no token yet.")
    ] = False,
    api: Annotated[bool, typer.Option("--api", help="Make the API token instead.")] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Replace the existing token; the old one stops working."),
    ] = False,
    card: Annotated[
        Path | None,
        typer.Option(help="PDF to write: a page for each office with link and QR code."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make an office's token: printed once, with the join link; the hub stores only its hash."""
    settings = load_config(config, files=False)
    if [office is not None, every, api].count(True) != 1:
        raise UserError("name one OFFICE, or --all, or --api")
    if api:
        _make_api_token(settings, config, force=force)
        return
    base = hub_address(settings, hub)
    chosen = list(_chosen(settings, config, office, force=force))
    if not chosen and not as_json:
        print("every office with an agent already has a token; --force replaces them")
    files = {one.id: _hash_file(one, config) for one in chosen}
    for file in files.values():
        if file.exists() and not force:
            raise UserError(f"{file}: exists already; give --force to replace it")
    made = {name: make_token() for name in files}
    tokens = [
        {"office": name, "token": new, "link": f"{base}/join/{name}#t={new}"}
        for name, new in made.items()
    ]
    # Printed before anything is replaced: a token that nobody could read locks an office out.
    _print_tokens(tokens, as_json=as_json)
    try:
        if card is not None and tokens:
            _write_cards(settings, tokens, card)
        for name, file in files.items():
            write_secret(file, hash_token(made[name]) + "\n", replace=force)
            record_act(settings, "token made", {"office": name})
            del made[name]
    except (TemporaryError, UserError) as error:
        raise type(error)(
            f"{error}; the tokens printed for {', '.join(made)} do not work, older ones do"
        ) from error
    if card is not None and tokens and not as_json:
        print(f"{card}: {len(tokens)} cards to hand over; keep them as you keep the tokens")


def _print_tokens(tokens: list[dict[str, str]], *, as_json: bool) -> None:
    """Print them; raises `TemporaryError` if the output does not take them."""
    text = "".join(
        f"{one['office']}\n  token      {one['token']}\n  join link  {one['link']}\n"
        for one in tokens
    )
    try:
        print(
            json.dumps(tokens, ensure_ascii=False) + "\n" if as_json else text, end="", flush=True
        )
    except OSError as error:
        raise TemporaryError(
            f"the tokens cannot be printed: {error.strerror}; nothing was replaced"
        ) from error


def _write_cards(settings: Config, tokens: list[dict[str, str]], out: Path) -> None:
    """Write a page for each office; raises `UserError`."""
    from jharnet_monitor.report.output.files import (  # noqa: PLC0415 - slow to load
        TypesettingError,
        replacing,
    )
    from jharnet_monitor.report.output.join_card import (  # noqa: PLC0415
        JoinLink,
        card_sheet,
    )

    links = [JoinLink(one["office"], one["link"]) for one in tokens]
    try:
        content = card_sheet(links, settings, datetime.now(UTC))
    except TypesettingError as error:
        raise UserError(f"the cards could not be typeset: {error}") from error
    with replacing(out, 0o600) as scratch:
        scratch.write_bytes(content)


def _chosen(settings: Config, path: Path, office: str | None, *, force: bool) -> Iterator[Office]:
    if office is not None:
        try:
            yield settings.office(office)
        except KeyError as error:
            raise UserError(f"{path}: {error.args[0]}") from None
        return
    with_agent = [o for o in settings.offices if o.agent is not None]
    yield from (o for o in with_agent if force or not _hash_file(o, path).exists())


def _hash_file(office: Office, path: Path) -> Path:
    if office.agent is None:
        raise UserError(
            f"{path}: {office.id} has no agent; add `agent: {{token_hash_file: "
            f"secrets/{office.id}}}` to the office"
        )
    return office.agent.token_hash_file


def _make_api_token(settings: Config, path: Path, *, force: bool) -> None:
    file = settings.hub.api_token_file
    if file is None:
        raise UserError(f"{path}: hub.api_token_file: is not set; add it, such as secrets/api")
    remedy = "give --force to replace it"
    write_secret(file, make_token() + "\n", replace=force, remedy=remedy)
    record_act(settings, "API token made", {})
    print(f"API token written to {file}; a running hub uses it at once")


def hub_address(settings: Config, given: str | None) -> str:
    """The address for the join link: as given, or as the hub is known."""
    if given is not None:
        if not given.startswith(("https://", "http://")):
            raise UserError(f"--hub {given}: must be https://HOST:9797 (or http:// without TLS)")
        try:
            check_page_address(given, "https://HOST:9797")
        except ValueError as error:
            raise UserError(f"--hub: {error}") from None
        return given.rstrip("/")
    return hub_url(settings.hub)
