"""Turns the dashboards into a TypeScript program that compiles only if Grafana's types are
satisfied."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

PLUGINS = {
    "timeseries": "timeseries",
    "stat": "stat",
    "state-timeline": "statetimeline",
    "table": "table",
    "geomap": "geomap",
    "heatmap": "heatmap",
}
"""By panel type, the name of its part of @grafana/schema."""
WITH_FIELDS = {"timeseries", "state-timeline", "table", "heatmap"}
"""Those that have settings of their own for a field."""

_HEAD = """\
import type {{ AnnotationQuery, Dashboard, Panel, RowPanel }} from '@grafana/schema';
{imports}
// JSON knows no enums: their values will do.
type Loose<T> = T extends string ? `${{T}}` : T extends number | boolean | null | undefined ? T
  : T extends readonly (infer E)[] ? Loose<E>[]
  : T extends object ? {{ [K in keyof T]: Loose<T[K]> }} : T;
// What Prometheus' plugin adds to an annotation; it has no part in the schema.
type Marks = AnnotationQuery
  & {{ expr: string; step: string; titleFormat: string; useValueForTime: boolean }};
"""
_NAMED = """\
import type {{ Options as {kind}Options{fields} }}
  from '@grafana/schema/dist/esm/raw/composable/{name}/panelcfg/x/{file}_types.gen';"""


def program(dashboards: Mapping[str, dict[str, Any]], files: Mapping[str, str]) -> str:
    """The program; `files` names the file of each plugin's types."""
    imports = "\n".join(
        _NAMED.format(
            kind=_kind(plugin), name=name, file=files[name],
            fields=f", FieldConfig as {_kind(plugin)}Fields" if plugin in WITH_FIELDS else "",
        )
        for plugin, name in PLUGINS.items()
    )  # fmt: skip
    return "\n".join([_HEAD.format(imports=imports), *_statements(dashboards)])


def _kind(plugin: str) -> str:
    return plugin.replace("-", "").capitalize()


def _statements(dashboards: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    for name, dashboard in dashboards.items():
        separate = ("panels", "annotations")
        frame = {key: value for key, value in dashboard.items() if key not in separate}
        yield f"export const {name}: Loose<Dashboard> = {json.dumps(frame)};"
        marks = json.dumps(dashboard["annotations"]["list"])
        yield f"export const {name}a: Loose<Marks[]> = {marks};"
        for number, panel in enumerate(dashboard["panels"]):
            here = f"{name}{number}"
            if panel["type"] == "row":
                yield f"export const {here}: Loose<RowPanel> = {json.dumps(panel)};"
                continue
            kind = _kind(panel["type"])
            yield f"export const {here}: Loose<Panel> = {json.dumps(panel)};"
            options = json.dumps(panel["options"])
            yield f"export const {here}o: Loose<{kind}Options> = {options};"
            custom = panel["fieldConfig"]["defaults"].get("custom")
            if panel["type"] in WITH_FIELDS and custom:
                yield f"export const {here}f: Loose<{kind}Fields> = {json.dumps(custom)};"
