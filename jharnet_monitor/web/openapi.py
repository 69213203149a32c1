"""The OpenAPI description: `openapi.yaml` and its components, completed from the code."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import yaml

from jharnet_monitor import __version__
from jharnet_monitor.config.calls import LONGEST_DRILL, SHORTEST_DRILL
from jharnet_monitor.model import QUANTITIES, Cause, OfficeState, Outcome
from jharnet_monitor.profiles import Profile
from jharnet_monitor.web.query import (
    DEFAULT_LIMIT,
    LARGEST_LIMIT,
    LONGEST_TEXT,
)


def document(probes: Sequence[str]) -> dict[str, Any]:
    """The complete description; `probes` are those that the hub can run."""
    described = _read("openapi.yaml")
    described["components"] = _read("openapi_components.yaml")
    described["info"]["version"] = __version__
    schemas, paths = described["components"]["schemas"], described["paths"]
    for name, members in (
        ("Outcome", Outcome),
        ("Cause", Cause),
        ("State", OfficeState),
        ("Probe", probes),
        ("Profile", Profile),
    ):
        schemas[name]["enum"] = [str(member) for member in members]
    schemas["Measurement"]["properties"]["values"]["properties"] = {
        q.name: {"type": "number", "description": f"{q.help} ({q.unit}; {q.probe})"}
        for q in QUANTITIES
    }
    *_, limit = paths["/api/v1/measurements"]["get"]["parameters"]
    limit["schema"] |= {"default": DEFAULT_LIMIT, "maximum": LARGEST_LIMIT}
    _body(paths["/api/v1/drills"])["minutes"] |= {
        "minimum": SHORTEST_DRILL, "maximum": LONGEST_DRILL,
    }  # fmt: skip
    _body(paths["/api/v1/maintenance"])["reason"]["maxLength"] = LONGEST_TEXT
    return described


def _read(name: str) -> dict[str, Any]:
    text = files("jharnet_monitor.web").joinpath(name).read_text(encoding="utf-8")
    read: dict[str, Any] = yaml.safe_load(text)
    return read


def _body(path: dict[str, Any]) -> dict[str, Any]:
    """The properties of the JSON body of a POST."""
    properties: dict[str, Any] = path["post"]["requestBody"]["content"]["application/json"][
        "schema"
    ]["properties"]
    return properties
