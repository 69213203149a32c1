"""Keeps the hub's schedule of tests out of a test.

A planned test takes its turn on the line, so that the test's own probe waits or is marked as
disturbed, or it is refused, and the refusal is one more record. Whether that happens would depend
on the time of day. The first tests of an office (`hub.first_tests`) stay: they depend on how long
its agent has been connected.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

AWAY = timedelta(hours=6)
"""No test takes as long. The tests of a line are due at the busy hour, or twelve hours later."""
INDIA = ZoneInfo("Asia/Kolkata")


def plan_nothing(config: dict[str, Any]) -> None:
    """Change a hub's configuration: its offices are always open, and no speed test, conference test
    or packet train is due within five hours."""
    hour = f"{datetime.now(INDIA) + AWAY:%H}:00"
    config["district"]["office_hours"] = {
        "days": "mon-sun", "from": "00:00", "to": "23:59", "busy_hour": hour, "holidays": None,
    }  # fmt: skip
    config["probes"]["bandwidth"] |= {
        "every": "1d", "trains_every": None, "internet_every": None, "headquarters_every": None,
    }  # fmt: skip
    config["probes"]["conference"]["at"] = []
