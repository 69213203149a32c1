"""The kinds of clients whose calls the twin simulates. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Client:
    """A kind of client."""

    name: str = "one-to-one"
    max_video: float = 1.7e6
    """The most bit/s of coded video; 0 for audio only."""
    max_height: int = 720
    """Lines of its largest picture; 0 for audio only."""


REFERENCE = Client()
"""Chromium in a call of two, on which the twin was fitted."""
BUILT_IN = (
    REFERENCE,
    Client("group", max_video=2.5e6),
    Client("room", max_video=4.0e6, max_height=1080),
    Client("audio", max_video=0.0, max_height=0),
)
"""Clients available without configuration: a call of two, a group, a room system, audio only."""
