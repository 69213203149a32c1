"""Writes the dashboards: `python exporters/grafana/source/build.py`.

Grafana reads the JSON in `dashboards/`; a test compares it with this source.
"""

from __future__ import annotations

import json
from pathlib import Path

import management
import offices
import services

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
    return {
        f"{make.__name__}.json": json.dumps(make(), ensure_ascii=False, indent=1) + "\n"
        for make in DASHBOARDS
    }


if __name__ == "__main__":
    folder = Path(__file__).parents[1] / "dashboards"
    for name, text in files().items():
        (folder / name).write_text(text, "utf-8")
