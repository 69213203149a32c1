"""The configuration of a past period: contracts, thresholds and policy as they were sealed then."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from jharnet_monitor.config import Config, Office
from jharnet_monitor.config.schema import Link
from jharnet_monitor.judge.line.contract import rates_changed
from jharnet_monitor.store import Store
from jharnet_monitor.store.pruning import OF_THE_DATABASE, SETTINGS

log = logging.getLogger(__name__)
_PARTS = ("district", "thresholds", "capacity", "retention")
_UNFIT = (ValidationError, KeyError, TypeError, AttributeError)
_UNREADABLE = "the sealed settings of %s cannot be read: %s"


def in_force(store: Store, config: Config, until: datetime) -> Config:
    """The configuration with what the chain sealed last up to a moment in place of its own.

    A report of last month must not hold last month's speeds against this month's contract. Without
    sealed settings, as before the hub's first start, the configuration is as it is.
    """
    event = store.event_log.last_event(OF_THE_DATABASE, SETTINGS, until, '"settings":')
    if event is None:
        return config
    sealed = event.data["settings"]
    try:
        then = Config.model_validate({**sealed, "hub": {"tls": "off", **sealed["hub"]}})
    except _UNFIT as error:
        log.warning(_UNREADABLE, event.at, error)
        return config
    now = {office.id: office for office in config.offices}
    offices = tuple(
        office.model_copy(update={"agent": now[office.id].agent, "snmp": now[office.id].snmp})
        if office.id in now
        else office
        for office in then.offices
    )
    parts = {name: getattr(then, name) for name in _PARTS}
    return config.model_copy(update=parts | {"offices": offices})


@dataclass(frozen=True, slots=True)
class SealedContracts:
    """The contracts of the offices as they were sealed, each version from a moment on, oldest
    first.
    """

    versions: tuple[tuple[datetime, Mapping[str, Link | None]], ...] = ()

    @classmethod
    def read(cls, store: Store) -> SealedContracts:
        """Read every version that the chain holds."""
        found = []
        for event in store.event_log.events_of_kind(SETTINGS, [OF_THE_DATABASE]):
            if (settings := event.data.get("settings")) is not None:
                try:
                    found.append((event.at, _contracts(settings)))
                except _UNFIT as error:
                    log.warning(_UNREADABLE, event.at, error)
        return cls(tuple(found))

    def link(self, office: Office, until: datetime) -> Link | None:
        """The contract that was sealed last up to a moment. If it was told only later, that one;
        that of the configuration if none was sealed.
        """
        known = [*self._of(office)]
        sealed = [link for at, link in known if at <= until] or [link for _, link in known[:1]]
        return sealed[-1] if sealed else office.link

    def changed(self, office: Office, until: datetime) -> datetime | None:
        """When the rates of that contract were last changed; None if they always were the same."""
        return rates_changed(one for one in self._of(office) if one[0] <= until)

    def _of(self, office: Office) -> Iterator[tuple[datetime, Link]]:
        for at, links in self.versions:
            if (link := links.get(office.id)) is not None:
                yield at, link


def _contracts(settings: Mapping[str, Any]) -> dict[str, Link | None]:
    return {
        office["id"]: None if office.get("link") is None else Link.model_validate(office["link"])
        for office in settings["offices"]
    }
