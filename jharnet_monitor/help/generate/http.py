"""Writes the page of the HTTP interface from the OpenAPI document that the hub answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jharnet_monitor.help.generate.markdown import NOTE, cell, code, table
from jharnet_monitor.probes import PROBES
from jharnet_monitor.web.openapi import document

Json = Mapping[str, Any]

_INTRODUCTION = f"""\
# HTTP

{NOTE}

The hub serves pages, API, metrics and agents at one address, `hub.listen`. The same description for
programs (OpenAPI 3.1) is at `/api/v1/openapi.json`.

Reading needs no sign-in, unless `hub.reading` is `accounts`. What **changes** anything (marked
*token*) needs `Authorization: Bearer TOKEN` with the API's token (`jharnet-monitor token --api`),
or the cookie of a [sign-in](security.md#who-may-do-what).

Below `/api/`, `/-/` and `/agent` an error is `{{"error": "one clear line"}}`, for people it is a
page; the statuses are listed below. Moments are ISO 8601 with their zone; figures are in base
units: seconds, bits per second, ratios. What was not measured is absent or null, never 0.

The body of a request is JSON, or a form (`application/x-www-form-urlencoded`), in UTF-8 and not
compressed. A text in it is one line without control characters.

```sh
curl --cacert ca.pem https://10.8.0.2:9797/api/v1/offices
curl --cacert ca.pem 'https://10.8.0.2:9797/api/v1/measurements?office=potka&probe=bandwidth&limit=5'
curl --cacert ca.pem -X POST -H "Authorization: Bearer $(cat secrets/api)" \\
  https://10.8.0.2:9797/api/v1/offices/potka/probes/latency
```

A measurement:

```json
{{
  "id": "0d9f6c0e8a3b4b7e9a51c1b1b7a3f0c2",
  "office": "potka",
  "probe": "latency",
  "started_at": "2026-11-25T06:29:00.000Z",
  "duration_seconds": 60.0,
  "outcome": "ok",
  "cause": null,
  "conditions": {{}},
  "values": {{"sent": 60, "received": 60, "loss_ratio": 0.0, "rtt_p50_seconds": 0.041}}
}}
```

[Outcomes, states and causes](causes.md) and the [quantities](metrics.md#quantities) in `values`
have pages of their own.
"""
_TITLES = {
    "programs": "The API",
    "machines": "Prometheus, health checks and agents",
    "people": "Pages",
}
_OBJECTS = ("Measurement", "Office", "Drill")
_ERRORS = (
    ("400", "Wrong"),
    ("401", "NoToken"),
    ("403", "Refused"),
    ("404", "NotThere"),
    ("429", "Guessing"),
    ("503", "Unavailable"),
)
_METHODS = ("get", "post", "put", "delete")


def http_page() -> str:
    """The page as Markdown."""
    described = document(tuple(PROBES))
    operations = {tag: list(_operations(described, tag)) for tag in _TITLES}
    errors = described["components"]["responses"]
    parts = [
        _INTRODUCTION,
        table(("status", "error"), ((s, errors[n]["description"]) for s, n in _ERRORS)),
    ]
    parts.append(f"## {_TITLES['programs']}\n")
    for method, path, operation in operations.pop("programs"):
        parts += _detailed(described, method, path, operation)
    for tag, found in operations.items():
        rows = [(f"`{m.upper()} {p}`", cell(_summary(o))) for m, p, o in found]
        parts += [f"## {_TITLES[tag]}\n", table(("address", "what it gives or does"), rows)]
    parts += ["## Objects\n", "What the API gives.\n"]
    for name in _OBJECTS:
        parts += [f"### {name}\n", _properties(described["components"]["schemas"][name])]
    return "\n".join(parts)


def _operations(described: Json, tag: str) -> Iterator[tuple[str, str, Json]]:
    for path, methods in described["paths"].items():
        for method in _METHODS:
            operation = methods.get(method, {})
            if tag in operation.get("tags", ()):
                yield method, path, operation


def _summary(operation: Json) -> str:
    mark = " *(token)*" if operation.get("security") else ""
    about = operation.get("description", "")
    return f"{operation['summary']}.{mark}{f' {about}' if about else ''}"


def _detailed(described: Json, method: str, path: str, operation: Json) -> Iterator[str]:
    yield f"### `{method.upper()} {path}`\n"
    yield _summary(operation) + "\n"
    parameters = [_resolved(described, p) for p in operation.get("parameters", ())]
    if parameters:
        rows = [
            (f"`{p['name']}`", p["in"], _kind(described, p["schema"]), cell(_meaning(p)))
            for p in parameters
        ]
        yield table(("parameter", "in", "value", "meaning"), rows)
    for kind, body in operation.get("requestBody", {}).get("content", {}).items():
        fields = body["schema"]
        yield f"Body: `{kind}`. {fields.get('description', '')}".rstrip(" .") + ".\n"
        if fields.get("properties"):
            yield _properties(fields, described)
    answers = operation["responses"]
    good = [f"**{s}**: {a['description']}" for s, a in answers.items() if "$ref" not in a]
    bad = [s for s, a in answers.items() if "$ref" in a]
    yield f"Answers {'; '.join(good)}{'; errors ' if bad else ''}{', '.join(bad)}.\n"


def _properties(schema: Json, described: Json | None = None) -> str:
    required = schema.get("required", ())
    rows = [
        (
            f"`{name}`",
            _kind(described or {}, value),
            "yes" if name in required else "",
            cell(_meaning(value)),
        )
        for name, value in schema["properties"].items()
    ]
    return table(("field", "value", "always", "meaning"), rows)


def _meaning(value: Json) -> str:
    parts = [value.get("description", "")]
    below = value.get("properties", {}) if value.get("type") == "object" else {}
    if 0 < len(below) <= 20:
        parts.append("Fields: " + ", ".join(f"`{name}`" for name in below) + ".")
    if "default" in value:
        parts.append(f"Default: `{value['default']}`.")
    return " ".join(part if part.endswith(".") else f"{part}." for part in parts if part)


def _kind(described: Json, value: Json) -> str:
    if "$ref" in value:
        return _named(described, value["$ref"])
    if "enum" in value:
        return ", ".join("null" if v is None else f"`{v}`" for v in value["enum"])
    if value.get("type") == "array":
        return f"list of {_kind(described, value['items'])}"
    kinds = value["type"] if isinstance(value["type"], list) else [value["type"]]
    return " or ".join(_moment(kind, value) for kind in kinds)


def _named(described: Json, reference: str) -> str:
    name = reference.rpartition("/")[2]
    if name in _OBJECTS:
        return f"[{name}](#{name.lower()})"
    choices = _resolved(described, {"$ref": reference}).get("enum") if described else None
    return code(choices) if choices else name.lower()


def _moment(kind: str, value: Json) -> str:
    return "moment" if kind == "string" and value.get("format") == "date-time" else kind


def _resolved(described: Json, part: Json) -> Json:
    if "$ref" not in part:
        return part
    found: Any = described
    for name in part["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    resolved: Json = found
    return resolved
