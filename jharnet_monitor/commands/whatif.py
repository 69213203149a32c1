"""`jharnet-monitor whatif`: what would another line change?"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

import typer

from jharnet_monitor.commands.options import DEFAULT_CONFIG, AsJson, ConfigFile
from jharnet_monitor.commands.terminal import plain_console
from jharnet_monitor.config.load import load_config
from jharnet_monitor.errors import TemporaryError, UserError
from jharnet_monitor.i18n.formats import moment, with_borderline
from jharnet_monitor.i18n.words import words
from jharnet_monitor.judge.twin.prediction import Certainty, GradePrediction
from jharnet_monitor.model import parse_utc
from jharnet_monitor.wire.client import HubClient, HubRefusal

console = plain_console()
_NAMES = ("no conference", "audio only", "low-quality video", "SD", "HD")


def whatif(
    office: Annotated[str, typer.Argument(help="Id of the office.")],
    rate: Annotated[str, typer.Option(help="Rate each way, such as 4M.")] = "",
    loss: Annotated[str, typer.Option(help="Packet loss, such as 0 or 1%.")] = "",
    rtt: Annotated[str, typer.Option(help="Round trip, such as 50ms.")] = "",
    clients: Annotated[int, typer.Option(help="So many calls at once.")] = 1,
    client: Annotated[
        str, typer.Option(help="one-to-one, group, room, audio, or one of the configuration.")
    ] = "one-to-one",
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Simulate calls over an office's line as it was measured, or changed; needs a running hub."""
    loaded = load_config(config)
    if office not in {o.id for o in loaded.offices}:
        known = ", ".join(o.id for o in loaded.offices)
        raise UserError(f"no office `{office}` in {config}; there are {known}")
    values = {"rate": rate, "loss": loss, "rtt": rtt, "clients": str(clients), "client": client}
    query = urlencode({name: value for name, value in values.items() if value})
    hub = HubClient.from_config(loaded)
    with console.status("simulating calls …"):
        try:
            answer = hub.get(f"/api/v1/offices/{quote(office)}/whatif?{query}")
        except HubRefusal as error:
            if (
                error.status == HTTPStatus.NOT_FOUND
            ):  # no call yet, or an office that awaits a reload
                raise TemporaryError(error.reason) from None
            raise
    found = hub.object_with(answer, "probabilities", "measured_grade", "measured_at")
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        console.print(_text(found, ZoneInfo(loaded.district.timezone)), highlight=False)


def _text(answer: dict[str, Any], zone: ZoneInfo) -> str:
    def local(text: str) -> str:
        return moment(parse_utc(text), zone, words("en"))

    lines = [_headline(GradePrediction(tuple(answer["probabilities"])))]
    for grade in range(4, -1, -1):
        share = answer["probabilities"][grade]
        lines.append(f"  {grade} {_NAMES[grade]:<18} {share:4.0%} {'█' * round(share * 40)}")
    measured = answer["measured_grade"]
    if measured is not None:
        lines.append(f"measured {local(answer['measured_at'])}: {_NAMES[int(measured)]}")
    for source in answer.get("completed_by", ()):  # a hub of an older version gives none
        gave = ", ".join(source["gave"])
        lines.append(f"completed by {source['series']} {local(source['measured_at'])}: {gave}")
    return "\n".join(lines)


def _headline(found: GradePrediction) -> str:
    """`HD, certain` or `SD, borderline HD`."""
    name = _NAMES[found.grade]
    if found.certainty is Certainty.CERTAIN:
        return f"{name}, {found.certainty.value}"
    return with_borderline(name, found.second, words("en"))
