"""The JSON Schema of `jharnet.yaml`, for editors: `python -m jharnet_monitor.config.json_schema`.

An editor with a YAML language server uses it to complete keys, to show what they mean and to mark
errors while you type. A test checks that the shipped file is up to date.
"""

from __future__ import annotations

import json
from typing import Any

from jharnet_monitor.config.schema import Config
from jharnet_monitor.config.units import format_quantity


def config_schema() -> str:
    """The schema as the text of `config/jharnet.schema.json`."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Config.model_json_schema(),
    }
    _format_defaults(schema)
    return json.dumps(schema, ensure_ascii=False, indent=1) + "\n"


def _format_defaults(node: Any) -> None:
    """Write defaults with their units: `60s` where the model has 60.0."""
    if isinstance(node, list):
        for item in node:
            _format_defaults(item)
    if not isinstance(node, dict):
        return
    kinds = [part.pop("quantity", None) for part in [node, *node.get("anyOf", [])]]
    kind = next(filter(None, kinds), None)
    if kind and isinstance(node.get("default"), int | float):
        node["default"] = format_quantity(node["default"], kind)
    each = node.get("items", {}).get("quantity") if node.get("type") == "array" else None
    if each and isinstance(node.get("default"), list | tuple):
        node["default"] = [format_quantity(value, each) for value in node["default"]]
    if isinstance(node.get("default"), dict):  # a section, whose keys have their own defaults
        del node["default"]
    for value in node.values():
        _format_defaults(value)


if __name__ == "__main__":
    print(config_schema(), end="")
