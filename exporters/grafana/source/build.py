"""Writes the dashboards, and the mixin's copy of the rules:
`python exporters/grafana/source/build.py`.

Grafana reads the JSON in `dashboards/`, jsonnet that in `mixin/`; a test compares both with their
source.
"""

from __future__ import annotations

import json
from pathlib import Path

import management
import offices
import services
import statewide
import yaml

EXPORTERS = Path(__file__).parents[2]
DASHBOARDS = (
    offices.district,
    offices.office,
    services.conference,
    services.speed,
    services.monitor,
    offices.state,
    management.management,
)


def files() -> dict[str, str]:
    """Each dashboard's file name and text."""
    return {f"{make.__name__}.json": _text(make()) for make in DASHBOARDS}


def state_files() -> dict[str, str]:
    """The state's own dashboards, by file name."""
    return {"weeks.json": _text(statewide.weeks())}


def mixin() -> dict[str, str]:
    """The rules as JSON, by file name: the alerts, and the recording rules."""
    rules = EXPORTERS / "prometheus" / "rules"
    return {
        f"{kind}.json": _text(
            {
                "groups": [
                    group
                    for file in sorted(rules.glob(f"{kind}*.yml"))
                    for group in yaml.safe_load(file.read_text("utf-8"))["groups"]
                ]
            }
        )
        for kind in ("alerts", "recording")
    }


def _text(content: object) -> str:
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    for folder, made in (
        ("grafana/dashboards", files()),
        ("mixin", mixin()),
        ("state/grafana/dashboards", state_files()),
    ):
        (EXPORTERS / folder).mkdir(exist_ok=True, parents=True)
        for name, text in made.items():
            (EXPORTERS / folder / name).write_text(text, "utf-8")
