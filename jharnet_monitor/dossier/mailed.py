"""The chain's roots that were mailed to outside recipients, which nobody can change afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from jharnet_monitor.dossier.archive import ArchiveError, plausible
from jharnet_monitor.dossier.sealed import HOUR, Sealed
from jharnet_monitor.judge.calendar.period import Period
from jharnet_monitor.model import MADE_UP, format_utc, parse_utc
from jharnet_monitor.store import Store
from jharnet_monitor.store.mails import MailState

_KEYS = ("name", "recipient", "root", "message_id", "prepared_at", "accepted_at")


def mailed_roots(store: Store, period: Period, now: datetime) -> list[dict[str, str]]:
    """Every root that a mail server accepted from the start of the period until now."""
    return [
        {
            "name": one.name,
            "recipient": one.recipient,
            "root": one.root,
            "message_id": one.message_id,
            "prepared_at": format_utc(one.prepared_at),
            "accepted_at": format_utc(one.changed_at),
        }
        for one in store.mails.all(period.start, now)
        if one.root is not None and one.state is MailState.ACCEPTED
    ]


def mails_json(mails: Sequence[dict[str, str]], *, made_up: bool) -> Any:
    """The content of the file; with `made_up` it says that nothing was measured."""
    return {MADE_UP: True, "mails": list(mails)} if made_up else list(mails)


def validated(data: Any) -> list[dict[str, str]]:
    """Validate the content of a dossier's file, and give its list; raises `ArchiveError`."""
    if isinstance(data, dict) and set(data) == {MADE_UP, "mails"}:
        data = data["mails"]
    whole = isinstance(data, list) and all(
        isinstance(row, dict)
        and set(row) == set(_KEYS)
        and all(isinstance(value, str) for value in row.values())
        for row in data
    )
    if not whole:
        raise ArchiveError("chain/mailed-roots.json: is not a list of mails")
    try:
        for row in data:
            plausible(parse_utc(row["prepared_at"]))
            plausible(parse_utc(row["accepted_at"]))
    except ValueError as error:
        raise ArchiveError(f"chain/mailed-roots.json: states no valid time: {error}") from error
    return list(data)


def unknown_roots(mails: Sequence[dict[str, str]], links: Sequence[Sealed]) -> Iterator[str]:
    """A message for every mailed root that the chain did not contain when it was mailed."""
    sealed_at = {one.root: one.begin + HOUR for one in links}
    for mail in mails:
        what = f"chain/mailed-roots.json: the root of {mail['name']} to {mail['recipient']}"
        if mail["root"] not in sealed_at:
            yield f"{what} is not in the chain"
        elif parse_utc(mail["prepared_at"]) < sealed_at[mail["root"]]:
            yield f"{what} belongs to an hour after the mail"
