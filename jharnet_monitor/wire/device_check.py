"""What a join page found when a person checked camera, microphone and loudspeaker. Bounded: only
known findings are accepted, and only so many checks of an office in an hour."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from jharnet_monitor.clock import Clock
from jharnet_monitor.wire.protocol import ProtocolError

_OPENING = ("none", "refused", "busy", "insecure")
"""Why a page cannot open a device: it is missing, not allowed, used by another program, or the page
was opened over plain HTTP."""
DEVICE_FINDINGS: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "camera": ("good", "black", "frozen", *_OPENING),
    "microphone": ("good", "silent", "clipping", *_OPENING),
    "loudspeaker": ("heard", "not_heard", "not_answered", "not_played"),
    "echo": ("reached", "not_reached", "not_tried"),
    "processor": ("in_time", "slow", "not_tested"),
})  # fmt: skip
"""The possible findings on each device; `echo` is whether the microphone hears the loudspeaker."""
FINE = frozenset({"good", "heard", "reached", "not_reached", "not_tried", "in_time"})
"""Findings on which nobody has to act."""
MOST_CHECKS = 20
"""Checks of one office that are accepted within an hour."""
_HOUR = 3600.0


def read_device_check(frame: Mapping[str, Any]) -> dict[str, str]:
    """The findings in a `device_check` frame, one a device; raises `ProtocolError`.

    >>> read_device_check({"findings": {"camera": "black", "microphone": "good",
    ...     "loudspeaker": "heard", "echo": "reached", "processor": "slow"}})["camera"]
    'black'
    """
    reported = frame.get("findings")
    if not isinstance(reported, dict) or set(reported) != set(DEVICE_FINDINGS):
        raise ProtocolError("`device_check` needs a finding on each device")
    for device, known in DEVICE_FINDINGS.items():
        if reported[device] not in known:
            raise ProtocolError(f"no such finding on the {device}")
    return {device: str(reported[device]) for device in DEVICE_FINDINGS}


class CheckQuota:
    """Limits how many checks of each office are accepted within an hour."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._taken: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=MOST_CHECKS))

    def take(self, office: str) -> bool:
        """Whether one more check of the office is accepted now; if so, it is counted."""
        taken, now = self._taken[office], self._clock.monotonic()
        if len(taken) == MOST_CHECKS and now - taken[0] < _HOUR:
            return False
        taken.append(now)
        return True
