"""The configuration in a dossier: what the chain seals of it, and the letter's texts.

It has the format of the configuration file, so that a reader sees the units and the verifier reads
it with the same strict schema. Secrets, mail servers and paths are left out.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from jharnet_monitor.config import Config
from jharnet_monitor.config.sealed_settings import sealed_settings, with_units
from jharnet_monitor.dossier.archive import ArchiveError
from jharnet_monitor.model import MADE_UP


def settings(config: Config, *, made_up: bool = False) -> dict[str, Any]:
    """The part of the configuration that a dossier depends on, as in the configuration file; with
    `made_up` it says that it is of a made-up district.
    """
    sealed = sealed_settings(config)
    whole = config.model_dump(mode="json", by_alias=True)
    texts = with_units({
        "report": {k: whole["report"][k] for k in ("directive", "directive_hi")},
        "letter": whole["letter"],
    })  # fmt: skip
    mark = {MADE_UP: True} if made_up else {}
    return sealed | texts | {"hub": {"tls": "off", **sealed["hub"]}} | mark


def read_settings(data: Any, name: str = "settings.json") -> Config:
    """The configuration from a dossier; raises `ArchiveError`, which names the file."""
    if isinstance(data, dict):
        data = {key: value for key, value in data.items() if (key, value) != (MADE_UP, True)}
    try:
        return Config.model_validate(data)
    except (ValidationError, RecursionError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        where = ".".join(str(part) for part in first["loc"]) if first else ""
        message = first["msg"] if first else "is nested too deeply"
        raise ArchiveError(f"{name}: {where}: {message}") from error
