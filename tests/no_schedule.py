"""Keeps the hub's schedule of tests out of a test.

A planned test takes its turn on the line, so that the test's own probe waits or is marked as
disturbed, or it is refused, and the refusal is one more record. Whether that happens would depend
on the time of day. The first tests of an office (`hub.first_tests`) stay: they depend on how long
its agent has been connected.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from jharnet_monitor.demo import setup

AWAY = timedelta(hours=6)
"""No test takes as long. The tests of a line are due at the busy hour, or twelve hours later."""
INDIA = "Asia/Kolkata"


def zone_at_noon() -> str:
    """A time zone in which it is between 12 and 13 o'clock, so that no day ends in a test."""
    return f"Etc/GMT{datetime.now(UTC).hour - 12:+d}"


def plan_nothing(config: dict[str, Any], zone: str = INDIA) -> None:
    """Change a hub's configuration: its offices are always open, and no speed test, conference test
    or packet train is due within five hours."""
    hour = f"{datetime.now(ZoneInfo(zone)) + AWAY:%H}:00"
    config["district"] |= {
        "timezone": zone,
        "office_hours": {
            "days": "mon-sun", "from": "00:00", "to": "23:59", "busy_hour": hour, "holidays": None,
        },
    }  # fmt: skip
    probes = config.setdefault("probes", {})
    probes["bandwidth"] = probes.get("bandwidth", {}) | {
        "every": "1d", "trains_every": None, "internet_every": None, "headquarters_every": None,
    }  # fmt: skip
    probes["conference"] = probes.get("conference", {}) | {"at": []}


@contextmanager
def demo_without_schedule() -> Iterator[None]:
    """Within the block, hubs that are set up as the demo's plan nothing."""
    made = setup._config

    def config(*arguments: Any) -> dict[str, Any]:
        found = made(*arguments)
        plan_nothing(found)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setup, "_config", config)
        yield
