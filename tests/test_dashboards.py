"""The dashboards: made from their source, shaped as Grafana wants them, without a dead end."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.exporters_support import EXPORTERS, RULES, metric_names, program, read_yaml, run
from tests.grafana_support import program as typescript

ROOT = EXPORTERS.parent
GRAFANA = EXPORTERS / "grafana"
NODE = ROOT / ".venv" / "node"
"""Where `.ci/run` installs what `tests/grafana/package.json` names."""


def dashboards() -> dict[str, dict[str, Any]]:
    """What Grafana reads, by name."""
    return {
        file.stem: json.loads(file.read_text("utf-8"))
        for file in sorted((GRAFANA / "dashboards").glob("*.json"))
    }


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every panel with data, with its dashboard's name."""
    for name, dashboard in dashboards().items():
        yield from ((name, panel) for panel in dashboard["panels"] if panel["type"] != "row")


def test_dashboards_are_what_their_source_makes() -> None:
    """A change of a dashboard is made in its source; Grafana reads the JSON."""
    script = "import build, json; print(json.dumps(build.files()))"
    made = json.loads(run(sys.executable, "-c", script, cwd=GRAFANA / "source"))
    shipped = {f.name: f.read_text("utf-8") for f in (GRAFANA / "dashboards").glob("*.json")}
    assert shipped == made, "run `python exporters/grafana/source/build.py`"


def _types(node_modules: Path) -> dict[str, str]:
    """By plugin, the name of the file with its types."""
    raw = node_modules / "@grafana/schema/dist/esm/raw/composable"
    return {
        file.parents[2].name: file.name.removesuffix("_types.gen.d.ts")
        for file in raw.glob("*/panelcfg/x/*_types.gen.d.ts")
    }


@pytest.mark.server("node")
@pytest.mark.timeout(300)
def test_grafanas_own_types_hold(tmp_path: Path) -> None:
    """tsc finds nothing in the dashboards, each plugin's options and fields included; and it does
    find a wrong one."""
    modules = NODE / "node_modules"
    if not modules.is_dir():
        pytest.skip("needs `npm install` of tests/grafana/package.json in .venv/node")
    (tmp_path / "node_modules").symlink_to(modules)
    text = typescript(dashboards(), _types(modules))
    wrong = "export const wrong: Loose<StatOptions> = {colorMode: 'blue'};\n"
    for name, source in (("good", text), ("bad", text + "\n" + wrong)):
        (tmp_path / f"{name}.ts").write_text(source, "utf-8")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    tsc: list[str | Path] = [
        program("node"), modules / "typescript/bin/tsc", "--noEmit", "--strict", "--skipLibCheck",
        "--pretty", "false", "--module", "nodenext", "--target", "es2022",
    ]  # fmt: skip
    run(*tsc, "good.ts", cwd=tmp_path)
    with pytest.raises(AssertionError, match="blue"):
        run(*tsc, "bad.ts", cwd=tmp_path)


@pytest.mark.parametrize(("where", "panel"), list(panels()), ids=lambda p: str(p)[:20])
def test_each_panel_explains_itself(where: str, panel: dict[str, Any]) -> None:
    """A title, a description, a unit; rates in bits; queries use only metrics that exist."""
    assert len(panel["description"]) > 10, panel["title"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    recorded = {
        name
        for file in RULES.glob("recording*.yml")
        for name in re.findall(r"record: (\S+)", file.read_text("utf-8"))
    }
    for target in panel["targets"]:
        expr = target["expr"]
        assert set(re.findall(r"\bjharnet_\w+", expr)) - metric_names() == set(), (where, expr)
        assert set(re.findall(r"\bjharnet:[\w:]+", expr)) <= recorded, (where, expr)
        if "bytes_per_second" in expr and "count(" not in expr:
            assert "* 8" in expr or "*8" in expr, (where, panel["title"])


def test_links_and_variables_lead_somewhere() -> None:
    """Every `$name` is a variable of its dashboard or Grafana's, every link a dashboard here."""
    uids = {dashboard["uid"] for dashboard in dashboards().values()}
    for name, dashboard in dashboards().items():
        known = {variable["name"] for variable in dashboard["templating"]["list"]}
        text = json.dumps(dashboard)
        for used in re.findall(r"\$\{?(\w+)", text):
            assert used in known or used.startswith("__"), (name, used)
        assert set(re.findall(r"/d/([\w-]+)", text)) <= uids
        assert any(link["type"] == "dashboards" for link in dashboard["links"])
        assert name in ("state", "management") or "https://${hub}/" in text


def test_no_panel_covers_another() -> None:
    """Every panel has its own place and number."""
    for name, dashboard in dashboards().items():
        taken: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            at = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(at["x"], at["x"] + at["w"])
                for y in range(at["y"], at["y"] + at["h"])
            }
            assert not cells & taken, (name, panel["title"])
            assert at["x"] + at["w"] <= 24
            taken |= cells
        numbers = [panel["id"] for panel in dashboard["panels"]]
        assert len(set(numbers)) == len(numbers)


def test_grafana_is_provisioned_with_source_and_dashboards() -> None:
    """The provisioned data source is Prometheus, and the dashboards are read from their folder."""
    [source] = read_yaml(GRAFANA / "provisioning/datasources/prometheus.yaml")["datasources"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    [provider] = read_yaml(GRAFANA / "provisioning/dashboards/jharnet.yaml")["providers"]
    assert provider["options"]["path"] == "/etc/grafana/dashboards"
