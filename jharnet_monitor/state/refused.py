"""The receiver's refusal of a week for good.

It has a module of its own because those that make weeks load slowly.
"""

from __future__ import annotations

from jharnet_monitor.errors import UserError


class WeekRefusedError(UserError):
    """The state's receiver will never accept this week as it is; the message is its reason."""
