"""Holds the configuration in force, so that a reload reaches every part of the hub."""

from __future__ import annotations

from collections.abc import Callable

from jharnet_monitor.config.schema import Config


class CurrentConfig:
    """The configuration in force.

    Parts of the hub keep this object, never a `Config`, and read `config` each time they act.
    Whatever must be rebuilt from a new configuration subscribes with `on_replace`.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._listeners: list[Callable[[], None]] = []

    @property
    def config(self) -> Config:
        """The configuration in force now."""
        return self._config

    def on_replace(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every replacement, after those that subscribed before it."""
        self._listeners.append(listener)

    def replace(self, config: Config) -> None:
        """Put another configuration in force and call the listeners."""
        self._config = config
        for listener in self._listeners:
            listener()
