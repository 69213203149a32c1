"""The log of mails by recipient, written before an attempt and after the server's answer.

No mail is missed, and one is repeated (with the same Message-ID) only if the process died between
the server's 250 and the commit of `accepted`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Engine, Row, Update, insert, select, update

from jharnet_monitor.clock import Clock
from jharnet_monitor.store import tables as t
from jharnet_monitor.store.engine import reading, writing


class MailState(StrEnum):
    """The state of a mail to one recipient."""

    PREPARED = "prepared"
    """Not accepted yet: to be sent, or to be sent again."""
    REFUSED = "refused"
    """The server refused it permanently (5xx); it is tried again, but rarely."""
    ACCEPTED = "accepted"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A mail to one recipient. `name` is the mail's, such as `weekly-2026-W47`; `root` is the root
    of the hash chain in it; `changed_at` is the time of the last attempt or answer."""

    name: str
    message_id: str
    recipient: str
    state: MailState
    attempts: int
    error: str | None
    root: str | None
    prepared_at: datetime
    changed_at: datetime


class Mails:
    """The mail log of one database."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def prepare(
        self, name: str, message_id: str, recipients: Iterable[str], root: str | None
    ) -> bool:
        """Record the recipients of a mail; False, without a change, if it was recorded before.

        Later changes of the configuration do not change the recipients of this mail.
        """
        now = t.to_ms(self._clock.now())
        rows = [
            {
                "name": name,
                "message_id": message_id,
                "recipient": recipient,
                "state": MailState.PREPARED.value,
                "attempts": 0,
                "root": root,
                "prepared_at": now,
                "changed_at": now,
            }
            for recipient in dict.fromkeys(recipients)
        ]
        existing = select(t.mails.c.name).where(t.mails.c.name == name).limit(1)
        with writing(self._engine) as connection:
            if connection.execute(existing).first() is not None:
                return False
            connection.execute(insert(t.mails), rows)
        return True

    def attempt(self, deliveries: Iterable[Delivery]) -> None:
        """Record that an attempt to send them begins now."""
        now = t.to_ms(self._clock.now())
        with writing(self._engine) as connection:
            for one in deliveries:
                values = {"attempts": t.mails.c.attempts + 1, "changed_at": now}
                connection.execute(_row(one).values(**values))

    def accepted(self, delivery: Delivery) -> None:
        """Record that the server accepted it (250)."""
        self._change(delivery, state=MailState.ACCEPTED.value, error=None)

    def failed(self, delivery: Delivery, error: str, *, for_good: bool) -> None:
        """Record why it was not accepted; `for_good` if the server refused it (5xx)."""
        state = MailState.REFUSED if for_good else MailState.PREPARED
        self._change(delivery, state=state.value, error=error[:500])

    def open(self) -> list[Delivery]:
        """The deliveries that are not accepted yet, oldest first."""
        return self._find(t.mails.c.state != MailState.ACCEPTED.value)

    def of(self, name: str) -> list[Delivery]:
        """The deliveries of one mail, one per recipient."""
        return self._find(t.mails.c.name == name)

    def all(self, since: datetime, until: datetime) -> list[Delivery]:
        """The deliveries prepared within [since, until)."""
        prepared = t.mails.c.prepared_at
        return self._find(prepared >= t.to_ms(since), prepared < t.to_ms(until))

    def _find(self, *conditions: ColumnElement[bool]) -> list[Delivery]:
        query = (
            select(t.mails)
            .where(*conditions)
            .order_by(t.mails.c.prepared_at, t.mails.c.message_id, t.mails.c.recipient)
        )
        with reading(self._engine) as connection:
            return [_delivery(row) for row in connection.execute(query)]

    def _change(self, one: Delivery, **values: object) -> None:
        query = _row(one).values(**values, changed_at=t.to_ms(self._clock.now()))
        with writing(self._engine) as connection:
            connection.execute(query)


def _row(one: Delivery) -> Update:
    return (
        update(t.mails)
        .where(t.mails.c.message_id == one.message_id)
        .where(t.mails.c.recipient == one.recipient)
    )


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery(
        name=row.name,
        message_id=row.message_id,
        recipient=row.recipient,
        state=MailState(row.state),
        attempts=row.attempts,
        error=row.error,
        root=row.root,
        prepared_at=t.from_ms(row.prepared_at),
        changed_at=t.from_ms(row.changed_at),
    )
