"""Lays out panels on a dashboard: rows, positions, variables, links."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from parts import SOURCE, Json

COLUMNS = 24
ALL = "jharnet"
"""The tag of all dashboards, for the links between them."""


def row(title: str) -> Json:
    """A heading over the panels that follow it."""
    return {"type": "row", "title": title, "collapsed": False, "panels": [],
            "gridPos": {"w": COLUMNS, "h": 1, "x": 0, "y": 0}}  # fmt: skip


def variable(name: str, label: str, metric: str, *, many: bool = False, hide: int = 0) -> Json:
    """A choice among the values of a label."""
    some = {"allValue": ".+", "current": {"text": "All", "value": "$__all"}} if many else {}
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": SOURCE,
        "query": {"query": f"label_values({metric})", "refId": "variable"},
        "refresh": 2,
        "sort": 1,
        "multi": many,
        "includeAll": many,
        "options": [],
        "hide": hide,
        **some,
    }


def choice(name: str, label: str, values: Sequence[str], chosen: str) -> Json:
    """A choice among fixed values."""
    options = [{"text": v, "value": v, "selected": v == chosen} for v in values]
    return {"type": "custom", "name": name, "label": label, "query": ",".join(values),
            "current": {"text": chosen, "value": chosen}, "options": options, "multi": False,
            "includeAll": False, "hide": 0}  # fmt: skip


DATASOURCE: Json = {"type": "datasource", "name": "datasource", "label": "Prometheus",
                    "query": "prometheus", "options": [], "hide": 0, "regex": "",
                    "refresh": 1, "multi": False, "includeAll": False}  # fmt: skip
DISTRICT = variable("district", "District", "jharnet_build_info, district")
OFFICE = variable("office", "Office", 'jharnet_office_info{district="$district"}, office')
OFFICES = variable(
    "office", "Offices", 'jharnet_office_info{district="$district"}, office', many=True
)
HUB = variable("hub", "Hub", 'jharnet_build_info{district="$district"}, instance', hide=2)
"""The hub's address for browsers: `instance` of the scrape configuration."""


def _placed(panels: Sequence[Json]) -> list[Json]:
    """Place panels from left to right, and start a new line when one does not fit."""
    x = y = height = 0
    placed = []
    for identity, panel in enumerate(panels, 1):
        place = panel["gridPos"]
        if x + place["w"] > COLUMNS:
            x, y, height = 0, y + height, 0
        placed.append({**panel, "id": identity, "gridPos": {**place, "x": x, "y": y}})
        x, height = x + place["w"], max(height, place["h"])
    return placed


def _link(title: str, **more: Any) -> Json:
    return {"title": title, "icon": "external link", "tooltip": "", "tags": [], "url": "",
            "asDropdown": False, "targetBlank": False, "includeVars": True, "keepTime": True,
            "type": "link"} | more  # fmt: skip


def annotation(name: str, colour: str, expr: str, title: str, *, enable: bool = True) -> Json:
    """What happened, as marks over every panel; a query whose value is 1 while it lasts."""
    return {
        "name": name,
        "datasource": SOURCE,
        "enable": enable,
        "hide": False,
        "iconColor": colour,
        "expr": expr,
        "step": "60s",
        "titleFormat": title,
        "useValueForTime": False,
    }


def events(selector: str) -> list[Json]:
    """The annotations of a dashboard whose series have these labels."""
    state = f"max by (office) (jharnet_office_state{{{selector}, state=%s}}) == 1"
    return [
        annotation("Outages", "red", state % '"unreachable"', "{{office}} is unreachable"),
        annotation("Planned work", "blue", state % '"planned"', "planned work at {{office}}"),
        annotation("Drills", "purple",
                   f'count(jharnet_probe_running{{{selector}, probe="conference"}}) > 1',
                   "a drill"),
    ]  # fmt: skip


def dashboard(
    name: str,
    title: str,
    about: str,
    variables: Sequence[Json],
    panels: Sequence[Json],
    *,
    span: str = "now-24h",
    status_page: str = "https://${hub}/",
    annotations: Sequence[Json] = (),
) -> Json:
    """A whole dashboard, as Grafana reads it from a file."""
    links = [_link("JharNet", type="dashboards", tags=[ALL], asDropdown=True)]
    if status_page:
        links.append(_link("Status page", url=status_page, targetBlank=True, includeVars=False))
    return {
        "uid": f"jharnet-{name}",
        "title": title,
        "description": about,
        "tags": [ALL],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "time": {"from": span, "to": "now"},
        "refresh": "30s",
        "links": links,
        "annotations": {"list": list(annotations)},
        "templating": {"list": [DATASOURCE, *variables]},
        "panels": _placed(panels),
    }
