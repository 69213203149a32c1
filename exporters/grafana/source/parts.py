"""The parts of a Grafana dashboard, as plain dictionaries.

They follow @grafana/schema; the tests check them against its types.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jharnet_monitor.model import LIVE_STATES

Json = dict[str, Any]

SOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
COLOURS = {
    "up": "green",
    "unreachable": "red",
    "lan_down": "orange",
    "agent_off": "yellow",
    "uplink_down": "purple",
    "monitor_down": "dark-purple",
    "planned": "blue",
    "unknown": "#808080",
}
STATE_NUMBERS = {state.value: number for number, state in enumerate(LIVE_STATES, 1)}
GRADES = (
    ("0 no conference", "dark-red"),
    ("1 audio only", "red"),
    ("2 low-quality video", "orange"),
    ("3 SD", "light-green"),
    ("4 HD", "green"),
)


def of_state(selector: str) -> str:
    """A query for the number of each office's state, for panels that show states by colour."""
    states = " or ".join(
        f'{number} * (jharnet_office_state{{{selector}, state="{state}"}} == 1)'
        for state, number in STATE_NUMBERS.items()
    )
    return f"max by (district, office) ({states})"


def query(expr: str, legend: str = "", *, now: bool = False, table: bool = False) -> Json:
    """A PromQL query: over the time range, or its value now."""
    return {
        "datasource": SOURCE,
        "expr": " ".join(expr.split()),
        "legendFormat": legend,
        "instant": now or table,
        "range": not (now or table),
        "format": "table" if table else "time_series",
    }


def mapped(texts: Iterable[tuple[float, str, str]]) -> list[Json]:
    """Numbers shown as coloured words: (number, word, colour)."""
    options = {
        f"{number:g}": {"text": text, "color": colour, "index": index}
        for index, (number, text, colour) in enumerate(texts)
    }
    return [{"type": "value", "options": options}]


STATES = mapped((n, state.replace("_", " "), COLOURS[state]) for state, n in STATE_NUMBERS.items())
GRADE = mapped((number, *words) for number, words in enumerate(GRADES))
SEVERITY = [
    {"type": "value", "options": {
        name: {"text": name, "color": colour, "index": index}
        for index, (name, colour) in enumerate(
            (("critical", "red"), ("warning", "orange"), ("info", "blue"))
        )
    }}
]  # fmt: skip
YES_NO = mapped([(1, "yes", "green"), (0, "no", "red")])


def override(name: str, *, pattern: bool = False, **properties: Any) -> Json:
    """Other settings for one field; `__` in a keyword stands for a dot (`custom__width`)."""
    return {
        "matcher": {"id": "byRegexp" if pattern else "byName", "options": name},
        "properties": [
            {"id": key.replace("__", "."), "value": value} for key, value in properties.items()
        ],
    }


LIMIT = override(
    "limit.*|contracted.*",
    pattern=True,
    custom__lineStyle={"fill": "dash", "dash": [10, 10]},
    custom__fillOpacity=0,
    color={"mode": "fixed", "fixedColor": "red"},
)
"""Contracted rates and limits are dashed lines."""


def panel(
    kind: str,
    title: str,
    about: str,
    queries: Sequence[Json],
    *,
    size: tuple[int, int] = (12, 8),
    options: Mapping[str, Any] | None = None,
    transformations: Sequence[Json] = (),
    **field: Any,
) -> Json:
    """A panel of a plugin; `size` is columns (of 24) and rows; `field` holds `unit`, `mappings`,
    `overrides` and whatever else a field's settings may have."""
    targets = [{**one, "refId": chr(ord("A") + n)} for n, one in enumerate(queries)]
    overrides = list(field.pop("overrides", ()))
    colour = {"mode": "thresholds" if "mappings" in field else "palette-classic"}
    return {
        "type": kind,
        "title": title,
        "description": about,
        "datasource": SOURCE,
        "gridPos": {"w": size[0], "h": size[1], "x": 0, "y": 0},
        "targets": targets,
        "transformations": list(transformations),
        "fieldConfig": {
            "defaults": {"unit": "short", "color": colour, **field},
            "overrides": overrides,
        },
        "options": dict(options or {}),
    }


def lines(title: str, about: str, queries: Sequence[Json], **more: Any) -> Json:
    """Figures over time; series named `limit` or `contracted` are dashed."""
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
    tooltip = {"mode": "multi", "sort": "desc"}
    return panel(
        "timeseries", title, about, queries,
        options={"legend": legend, "tooltip": tooltip},
        custom={"drawStyle": "line", "lineWidth": 1, "fillOpacity": 8, "showPoints": "auto",
                "spanNulls": False} | more.pop("custom", {}),
        overrides=[LIMIT, *more.pop("overrides", [])],
        **more,
    )  # fmt: skip


LEAST_KNOWN = 0.1
"""As on the papers: the share of the time that must be known before an availability is shown."""


def mean_if_known(
    series: str,
    *,
    over: str = "$__range",
    seconds: str = "$__range_s",
    step: int,
    sampled: bool = False,
) -> str:
    """The mean of a series that is absent while nothing is known, if it is there for `LEAST_KNOWN`
    of a range; a minute of a month in which the line worked would else read as 100 %.

    It has a sample each `step` seconds, or is looked at so often (`sampled`), whatever the interval
    of its rule.
    """
    counted = f"{over}:{step}s" if sampled else over
    return (
        f"(avg_over_time({series}[{over}]) "
        f"and {step} * count_over_time({series}[{counted}]) >= {LEAST_KNOWN} * {seconds})"
    )


def number(title: str, about: str, expr: str, **more: Any) -> Json:
    """One figure as it is now, small. `limit` is a query: over its value the figure is red."""
    queries, transformations = [query(expr, more.pop("legend", title), now=True)], []
    if "limit" in more:
        queries.append(query(more.pop("limit"), "limit", now=True))
        transformations.append(
            {
                "id": "configFromData",
                "options": {
                    "configRefId": "B",
                    "mappings": [{"fieldName": "limit", "handlerKey": "threshold1"}],
                },
            }
        )
    return panel(
        "stat", title, about, queries,
        size=more.pop("size", (4, 4)),
        transformations=transformations,
        options={"colorMode": "value", "graphMode": "none", "justifyMode": "auto",
                 "orientation": "auto", "textMode": more.pop("text", "auto"), "wideLayout": True,
                 "showPercentChange": False, "percentChangeColorMode": "standard",
                 "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}},
        **{"color": {"mode": "thresholds"}, "noValue": "not known", **more},
    )  # fmt: skip


def timeline(title: str, about: str, expr: str, legend: str, **more: Any) -> Json:
    """States over time, a row for each."""
    legend_options = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
    return panel(
        "state-timeline", title, about, [query(expr, legend)],
        size=more.pop("size", (24, 9)),
        options={"mergeValues": True, "showValue": "never", "alignValue": "left", "rowHeight": 0.8,
                 "legend": legend_options, "tooltip": {"mode": "single", "sort": "none"}},
        custom={"fillOpacity": 80, "lineWidth": 0},
        **more,
    )  # fmt: skip


def table(
    title: str, about: str, columns: Mapping[str, str], names: Mapping[str, str], **more: Any
) -> Json:
    """One row for each combination of labels. `columns`: heading to query; `names`: label to
    heading, in order; other labels are not shown."""
    queries = [query(expr, table=True) for expr in columns.values()]
    values = ["Value"] if len(queries) == 1 else [f"Value #{chr(65 + n)}" for n in range(26)]
    renamed = dict(names) | dict(zip(values, columns, strict=False))
    return panel(
        "table", title, about, queries,
        size=more.pop("size", (24, 10)),
        transformations=[
            {"id": "merge", "options": {}},
            {"id": "organize", "options": {
                "excludeByName": {"Time": True},
                "indexByName": {key: n for n, key in enumerate(renamed)},
                "renameByName": renamed,
            }},
        ],
        options={"showHeader": True, "cellHeight": "sm", "frameIndex": 0},
        custom={"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False},
        **more,
    )  # fmt: skip


def alerts(selector: str, **more: Any) -> Json:
    """Alerts that fire now, since when, and who sees to them."""
    labels = "district, office, alertname, severity, team"
    firing = f'max by ({labels}) (ALERTS{{{selector}, alertstate="firing"}})'
    since = f"max by ({labels}) (ALERTS_FOR_STATE{{{selector}}})"
    return table(
        "Alerts now", "What fires, and since when. Nothing here is good news.",
        {"Since": f"1000 * {since} and on ({labels}) {firing}"},
        {"severity": "Severity", "alertname": "Alert", "office": "Office", "district": "District",
         "team": "Team"},
        overrides=[override("Since", unit="dateTimeFromNow"),
                   override("Severity", mappings=SEVERITY,
                            custom__cellOptions={"type": "color-text"})],
        noValue="none",
        **more,
    )  # fmt: skip


def coloured(name: str, unit: str, mappings: Sequence[Json]) -> Json:
    """A table's column whose cells have the colour of their value."""
    return override(
        name, unit=unit, mappings=list(mappings),
        custom__cellOptions={"type": "color-text"}, color={"mode": "thresholds"},
    )  # fmt: skip


def link(title: str, url: str, *, new: bool = False) -> Json:
    """A link of a field."""
    return {"title": title, "url": url, "targetBlank": new}
