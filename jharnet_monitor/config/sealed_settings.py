"""The settings on which figures and verdicts depend, as the hash chain seals them.

They have the format of the configuration file, so that they show units and can be read back with
the same strict schema. Secrets, mail servers, paths and the letter's texts are left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from jharnet_monitor.config.schema import Config
from jharnet_monitor.config.units import format_quantity


def sealed_settings(config: Config) -> dict[str, Any]:
    """Contracts, thresholds, capacity policy, tariff, and whatever else a figure depends on."""
    whole = config.model_dump(mode="json", by_alias=True)
    probes = whole["probes"]
    return with_units({
        "district": whole["district"],
        "hub": {"uplink": {"contracted": whole["hub"]["uplink"]["contracted"]}},
        "probes": {
            "latency": {"every": probes["latency"]["every"]},
            "bandwidth": {"retest_after": probes["bandwidth"]["retest_after"]},
        },
        "thresholds": whole["thresholds"],
        "offices": [
            {k: v for k, v in office.items() if k not in ("agent", "snmp")}
            for office in whole["offices"]
        ],
        "retention": whole["retention"],
        "capacity": whole["capacity"],
    })  # fmt: skip


def settings_record(config: Config) -> dict[str, Any]:
    """The data of an event `settings`: the settings, and the SHA-256 of their canonical JSON."""
    settings = sealed_settings(config)
    return {"sha256": settings_hash(settings), "settings": settings}


def settings_event(last: Mapping[str, Any] | None, config: Config) -> dict[str, Any] | None:
    """The data of the event `settings` to add after one with the data `last`; None if they are
    still the same.
    """
    record = settings_record(config)
    return None if last is not None and last.get("sha256") == record["sha256"] else record


def settings_hash(settings: Mapping[str, Any]) -> str:
    """The SHA-256 of settings as JSON with sorted keys and no spaces."""
    text = json.dumps(settings, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def flatten(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Each setting by its key, such as `offices.potka.link.contracted`; lists are one value.

    >>> flatten({"offices": [{"id": "potka"}], "capacity": {"days": 20}})
    {'offices': ['potka'], 'offices.potka.id': 'potka', 'capacity.days': 20}
    """
    found: dict[str, Any] = {}
    for key, value in settings.items():
        inner = value
        if key == "offices":
            found[key] = [office["id"] for office in value]
            inner = {office["id"]: office for office in value}
        if isinstance(inner, Mapping):
            found |= {f"{key}.{name}": one for name, one in flatten(inner).items()}
        else:
            found[key] = inner
    return found


def with_units(settings: dict[str, Any]) -> dict[str, Any]:
    """A part of a dumped configuration with the units of the configuration file."""
    schema = _schema()
    found: dict[str, Any] = _with_units(settings, schema, schema["$defs"])
    return found


@cache
def _schema() -> dict[str, Any]:
    """The schema; it takes 0.1 s to make and never changes, and a dossier needs it ten times."""
    return Config.model_json_schema()


def _with_units(node: Any, schema: Mapping[str, Any], known: Mapping[str, Any]) -> Any:
    """The values with units, as the configuration's schema defines them."""
    forms = [_resolve(one, known) for one in (schema, *schema.get("anyOf", ()))]
    if isinstance(node, dict):
        keys = {name: form for one in forms for name, form in one.get("properties", {}).items()}
        return {name: _with_units(value, keys.get(name, {}), known) for name, value in node.items()}
    if isinstance(node, list):
        each: Mapping[str, Any] = next((one["items"] for one in forms if "items" in one), {})
        return [_with_units(value, each, known) for value in node]
    kind = next((one["quantity"] for one in forms if "quantity" in one), None)
    number = isinstance(node, int | float) and not isinstance(node, bool)
    return format_quantity(node, kind) if kind is not None and number else node


def _resolve(schema: Mapping[str, Any], known: Mapping[str, Any]) -> Mapping[str, Any]:
    name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    found: Mapping[str, Any] = known[name] if name else schema
    return found
