"""What the figures rest on beside measurements: offices, contracts, marks, policy, the letter.

It goes into the dossier in the configuration's own language, so that the reader sees the units and
the verifier reads it with the same strict schema. Secrets, mail servers and files stay out.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from jharnet_monitor.config import Config
from jharnet_monitor.config.units import spell
from jharnet_monitor.dossier.archive import ArchiveError

_RATES = ("contracted", "contracted_up", "video", "audio", "other", "per_seat", "services")
_RATIOS = (
    "sla", "loss", "delivered", "availability", "overhead", "utilisation",
)  # fmt: skip
_DURATIONS = ("rtt", "jitter", "loaded_rtt", "every", "timeout")


def settings(config: Config) -> dict[str, Any]:
    """The part of a configuration that a dossier rests on, as it would be written."""
    whole = config.model_dump(mode="json", by_alias=True)
    latency = whole["probes"]["latency"]
    kept = {
        "district": whole["district"],
        "hub": {"tls": "off", "uplink": {"contracted": whole["hub"]["uplink"]["contracted"]}},
        "probes": {"latency": {"every": latency["every"]}},
        "thresholds": whole["thresholds"],
        "offices": [
            {k: v for k, v in office.items() if k != "agent"} for office in whole["offices"]
        ],
        "report": {k: whole["report"][k] for k in ("directive", "directive_hi")},
        "capacity": whole["capacity"],
        "letter": whole["letter"],
    }
    spelled: dict[str, Any] = _spelled(kept)
    return spelled


def read_settings(data: Any) -> Config:
    """The configuration that a dossier names; raises `ArchiveError`."""
    try:
        return Config.model_validate(data)
    except (ValidationError, RecursionError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        where = ".".join(str(part) for part in first["loc"]) if first else ""
        said = first["msg"] if first else "is nested too deep"
        raise ArchiveError(f"settings.json: {where}: {said}") from error


def _spelled(node: Any, name: str = "") -> Any:
    """Figures as people write them, by the name of their key."""
    if isinstance(node, dict):
        return {key: _spelled(value, key) for key, value in node.items()}
    if isinstance(node, list):
        return [_spelled(value, "contracted" if name == "tariff" else "") for value in node]
    if isinstance(node, float | int) and not isinstance(node, bool):
        for names, kind in ((_RATES, "rate"), (_RATIOS, "ratio"), (_DURATIONS, "duration")):
            if name in names:
                return spell(node, kind)
    return node
