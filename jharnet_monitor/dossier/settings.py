"""The configuration in a dossier: offices, contracts, thresholds, policy and the letter's texts.

It has the format of the configuration file, so that a reader sees the units and the verifier reads
it with the same strict schema. Secrets, mail servers and paths are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from jharnet_monitor.config import Config
from jharnet_monitor.config.units import format_quantity
from jharnet_monitor.dossier.archive import ArchiveError


def settings(config: Config) -> dict[str, Any]:
    """The part of the configuration that a dossier depends on, as in the configuration file."""
    whole = config.model_dump(mode="json", by_alias=True)
    latency = whole["probes"]["latency"]
    kept = {
        "district": whole["district"],
        "hub": {"tls": "off", "uplink": {"contracted": whole["hub"]["uplink"]["contracted"]}},
        "probes": {"latency": {"every": latency["every"]}},
        "thresholds": whole["thresholds"],
        "offices": [
            {k: v for k, v in office.items() if k not in ("agent", "snmp")}
            for office in whole["offices"]
        ],
        "report": {k: whole["report"][k] for k in ("directive", "directive_hi")},
        "capacity": whole["capacity"],
        "letter": whole["letter"],
    }
    schema = Config.model_json_schema()
    spelled: dict[str, Any] = _spelled(kept, schema, schema["$defs"])
    return spelled


def read_settings(data: Any) -> Config:
    """The configuration from a dossier; raises `ArchiveError`."""
    try:
        return Config.model_validate(data)
    except (ValidationError, RecursionError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        where = ".".join(str(part) for part in first["loc"]) if first else ""
        message = first["msg"] if first else "is nested too deeply"
        raise ArchiveError(f"settings.json: {where}: {message}") from error


def _spelled(node: Any, schema: Mapping[str, Any], known: Mapping[str, Any]) -> Any:
    """The values with units, as the configuration's schema defines them."""
    forms = [_resolved(one, known) for one in (schema, *schema.get("anyOf", ()))]
    if isinstance(node, dict):
        keys = {name: form for one in forms for name, form in one.get("properties", {}).items()}
        return {name: _spelled(value, keys.get(name, {}), known) for name, value in node.items()}
    if isinstance(node, list):
        each: Mapping[str, Any] = next((one["items"] for one in forms if "items" in one), {})
        return [_spelled(value, each, known) for value in node]
    kind = next((one["quantity"] for one in forms if "quantity" in one), None)
    number = isinstance(node, int | float) and not isinstance(node, bool)
    return format_quantity(node, kind) if kind is not None and number else node


def _resolved(schema: Mapping[str, Any], known: Mapping[str, Any]) -> Mapping[str, Any]:
    name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    found: Mapping[str, Any] = known[name] if name else schema
    return found
