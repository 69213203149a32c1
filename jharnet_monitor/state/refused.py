"""The receiver's refusal of a week for good; apart from what makes weeks, which loads slowly."""

from __future__ import annotations

from jharnet_monitor.errors import UserError


class WeekRefusedError(UserError):
    """The state's receiver will never accept this week as it is; the message is its reason."""
