"""Writes the reference of the configuration from its models and the words under their keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from jharnet_monitor.config.agent_file import AgentFile
from jharnet_monitor.config.schema import Config
from jharnet_monitor.config.state_file import StateFile
from jharnet_monitor.config.units import format_quantity
from jharnet_monitor.help.generate.markdown import NOTE, cell, code, table

Json = Mapping[str, Any]

_INTRODUCTION = f"""\
# Configuration

{NOTE}

The hub reads one YAML file, `config/jharnet.yaml`; an agent may have one of its own
(see [The agent's file](#the-agents-file)).

- **Strict.** An unknown key, a wrong unit or a duplicate id is an error. It names the file, the
  line and the key, and says what would be right:
  `jharnet.yaml:14: probes.latency.every: must be a duration with its unit, such as 60s`.
- **Units are written out**: `10 Mbit/s`, `60s`, `2h`, `99.5%`, `200 MB`. Times of day stand in
  quotes: `"11:00"`.
- **File names** that do not begin with `/` are relative to the folder of the file.
- **Secrets** (tokens, passwords, communities) stand in files of their own, mode 600, never in the
  configuration.
- **Check** it with `jharnet-monitor check-config FILE`. Let the running hub take it up with
  `jharnet-monitor reload`: a faulty file changes nothing. A change of `hub.listen`, `hub.database`,
  `hub.tls`, `hub.trusted_proxies`, `hub.access_log`, `hub.access_log_days` or the path of
  `hub.url`, and adding or removing an office, needs a restart; with PostgreSQL also one of
  `report.directory`.
- An editor with a YAML language server completes keys and marks errors: the shipped file names its
  schema, `jharnet.schema.json`, in its first line.

The smallest file that works:

```yaml
district: {{id: east-singhbhum, name: East Singhbhum, name_hi: पूर्वी सिंहभूम}}
hub:
  tls: {{certificate: tls/hub.pem, key: tls/hub.key}}
  uplink: {{contracted: 34 Mbit/s}}
offices:
  - {{id: potka, name: Potka, name_hi: पोटका, router: 10.8.4.1}}
```

A key is **required** where the column *default* says so. *none* means that it may be left out.
"""

_AGENT = """\
## The agent's file

`jharnet-monitor agent --config agent.yaml` takes these keys. Every one is also an option on the
command line, which has precedence; `hub`, `office` and `token_file` are needed from either.
"""

_STATE = """\

## The state's file

`jharnet-monitor state` takes these keys from `state.yaml`; see [The state](state.md).
"""


def configuration_page() -> str:
    """The page as Markdown."""
    parts = [_INTRODUCTION, "## The whole file\n"]
    parts += _Reference(Config).sections()
    agent = _Reference(AgentFile)
    parts += [_AGENT, agent.keys("", agent.schema)]
    state = _Reference(StateFile)
    parts += [_STATE, *state.sections()]
    return "\n".join(parts)


class _Reference:
    """The sections of one model, each described where it first stands."""

    def __init__(self, model: type[BaseModel]) -> None:
        self.schema: Json = model.model_json_schema()
        self._definitions: Json = self.schema.get("$defs", {})
        self._described: dict[str, str] = {}

    def sections(self, path: str = "", schema: Json | None = None) -> Iterator[str]:
        """The table of a section's keys, then the sections below it."""
        schema = schema or self.schema
        yield self.keys(path, schema)
        for name, value in schema["properties"].items():
            below = self._section(value)
            if below is None:
                continue
            where, definition = _below(path, name, value), self._definitions[below]
            yield f"{'###' if path else '##'} `{where}`\n"
            if (first := self._described.get(below)) is not None:
                yield f"The same keys as [`{first}`](#{_anchor(first)}).\n"
                continue
            self._described[below] = where
            yield definition["description"] + "\n"
            yield from self.sections(where, definition)

    def keys(self, path: str, schema: Json) -> str:
        """The table of a section's keys."""
        required = schema.get("required", ())
        rows = []
        for name, value in schema["properties"].items():
            below = self._section(value)
            where = _below(path, name, value)
            shown = f"[`{name}`](#{_anchor(where)})" if below else code([name])
            kind = self._kind(value)
            default = "**required**" if name in required else self._default(value)
            rows.append((shown, cell(self._meaning(value)), kind, default))
        return table(("key", "meaning", "value", "default"), rows)

    def _section(self, value: Json) -> str | None:
        """The definition that a key refers to, directly, as an entry of a list, or optionally."""
        for part in (
            value,
            value.get("items", {}),
            *value.get("anyOf", ()),
            *value.get("oneOf", ()),
        ):
            reference = part.get("$ref")
            if reference:
                name: str = reference.rpartition("/")[2]
                return name if "properties" in self._definitions[name] else None
        return None

    def _meaning(self, value: Json) -> str:
        below = self._section(value)
        own: str = value.get("description", "")
        return own or (self._definitions[below]["description"].split("\n\n")[0] if below else "")

    def _kind(self, value: Json) -> str:
        if "$ref" in value:
            return "section"
        if value.get("type") == "array":
            return f"list of {self._plural(value['items'])}"
        choices = [
            v for v in (*value.get("anyOf", ()), *value.get("oneOf", ())) if v.get("type") != "null"
        ]
        if choices:
            return " or ".join(self._kind(choice) for choice in choices)
        if "enum" in value:
            return code(v for v in value["enum"] if isinstance(v, str))
        return _scalar(value)

    def _plural(self, value: Json) -> str:
        if "$ref" in value:
            return "sections"
        if "enum" in value:
            return code(value["enum"])
        return f"{value.get('quantity', 'text')}s" if "quantity" in value else "texts"

    def _default(self, value: Json) -> str:
        default = value.get("default")
        if default is None or default == []:
            return "none"
        if isinstance(default, dict):
            return ""
        kind = _quantity(value)
        if isinstance(default, list | tuple):
            each = value["items"].get("quantity")
            return code(format_quantity(v, each) if each else str(v) for v in default)
        if kind:
            return code([format_quantity(default, kind)])
        return code([f"{default:g}" if isinstance(default, float) else str(default)])


_NAMES = {
    "ratio": "share", "string": "text", "integer": "whole number", "number": "number",
    "boolean": "true or false",
}  # fmt: skip
_LIKE = {"rate": "10 Mbit/s", "duration": "60s", "ratio": "2%", "size": "200 MB"}


def _scalar(value: Json) -> str:
    quantity = value.get("quantity")
    if quantity:
        return f"{_NAMES.get(quantity, quantity)}, such as `{_LIKE[quantity]}`"
    if value.get("format") == "path":
        return "file name"
    name = _NAMES[value["type"]]
    low = value.get("minimum", value.get("exclusiveMinimum"))
    high = value.get("maximum")
    if value["type"] == "string" or low is None:
        return name
    if high is None:
        return f"{name}, {low} or more"
    return f"{name}, {'over ' if 'exclusiveMinimum' in value else ''}{low} to {high}"


def _quantity(value: Json) -> str | None:
    parts = (value, *value.get("anyOf", ()))
    return next((part["quantity"] for part in parts if "quantity" in part), None)


def _below(path: str, name: str, value: Json) -> str:
    many = "[]" if value.get("type") == "array" else ""
    return f"{path}.{name}{many}" if path else f"{name}{many}"


def _anchor(where: str) -> str:
    return where.replace(".", "").replace("[]", "")
