"""The settings as the chain sealed them: what was in force when, and what was changed.

The hub adds an event `settings` when it starts and when they change. A dossier must be made with
those that were sealed last, so no contract or threshold can be changed for it without a trace.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jharnet_monitor.config import Config, Office
from jharnet_monitor.config.sealed_settings import flatten, sealed_settings, settings_hash
from jharnet_monitor.dossier.archive import ArchiveError, strict_json
from jharnet_monitor.dossier.settings import read_settings
from jharnet_monitor.judge.line.contract import rates_changed
from jharnet_monitor.store.pruning import SETTINGS

_WHERE = "data/events-01.csv: an event `settings`"


@dataclass(frozen=True, slots=True)
class SettingChange:
    """A setting that was changed: its key in the configuration, and both values."""

    at: datetime
    key: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class SettingsLog:
    """The sealed settings by their keys, each from a moment on, oldest first."""

    versions: tuple[tuple[datetime, Mapping[str, Any]], ...]
    configs: tuple[Config, ...]
    """Each version as a configuration."""

    @classmethod
    def of(cls, events: Iterable[tuple[str, datetime, str]]) -> SettingsLog:
        """Read events, each its kind, when it was recorded, and its data as JSON.

        Settings that an event lacks have their defaults: the program did not know them then. Raises
        `ArchiveError`.
        """
        versions: list[tuple[datetime, Mapping[str, Any]]] = []
        configs: list[Config] = []
        digest: str | None = None
        for kind, at, data in events:
            if kind != SETTINGS:
                continue
            try:
                record = strict_json(data)
                stored_hash, content = record["sha256"], record.get("settings")
                if content is None and stored_hash != digest:
                    raise ValueError("it refers to settings that no event before it holds")
                if content is not None and settings_hash(content) != stored_hash:
                    raise ValueError("its hash is not that of its settings")
                if content is not None:
                    config = _config(content)
                    configs.append(config)
                    versions.append((at, flatten(sealed_settings(config))))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise ArchiveError(f"{_WHERE} cannot be read: {error!r}") from error
            digest = stored_hash
        return cls(tuple(versions), tuple(configs))

    @property
    def since(self) -> datetime | None:
        """When settings were first sealed."""
        return self.versions[0][0] if self.versions else None

    def differences(self, config: Config) -> list[SettingChange]:
        """What differs between the settings that were sealed last and the configuration."""
        if not self.versions:
            return []
        at, sealed = self.versions[-1]
        return _changes(at, sealed, flatten(sealed_settings(config)))

    def contract_changed(self, office: Office) -> datetime | None:
        """When the contracted rates of an office were last changed; None if they always were the
        same.
        """
        return rates_changed(
            (at, one.link)
            for (at, _), config in zip(self.versions, self.configs, strict=True)
            for one in config.offices
            if one.id == office.id
        )

    def changes(self, since: datetime) -> list[SettingChange]:
        """What was changed from a moment on, oldest first."""
        found: list[SettingChange] = []
        for (_, before), (at, after) in zip(self.versions, self.versions[1:], strict=False):
            if at >= since:
                found += _changes(at, before, after)
        return found


def _config(settings: Mapping[str, Any]) -> Config:
    """Sealed settings as a configuration, with the defaults of those that were not known then."""
    return read_settings({**settings, "hub": {"tls": "off", **settings["hub"]}}, _WHERE)


def _changes(
    at: datetime, before: Mapping[str, Any], after: Mapping[str, Any]
) -> list[SettingChange]:
    return [
        SettingChange(at, key, before.get(key), after.get(key))
        for key in dict.fromkeys([*before, *after])
        if before.get(key) != after.get(key)
    ]
