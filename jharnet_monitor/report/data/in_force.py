"""The configuration of a past period: contracts, thresholds and policy as they were sealed then."""

from __future__ import annotations

import logging
from datetime import datetime

from pydantic import ValidationError

from jharnet_monitor.config import Config
from jharnet_monitor.store import Store
from jharnet_monitor.store.pruning import OF_THE_DATABASE, SETTINGS

log = logging.getLogger(__name__)
_PARTS = ("district", "thresholds", "capacity", "retention")


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
    except (ValidationError, KeyError, TypeError) as error:
        log.warning("the sealed settings of %s cannot be read: %s", event.at, error)
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
