"""Every query and rule as a syntax tree: what dashboard-linter, pint and mixtool would find.

These tools cannot be had here, so their rules that matter are held by promql-parser. Left out, with
the reason: variables and matchers for `job` and `instance` (dashboard-linter's template-job-rule,
template-instance-rule, target-job-rule, target-instance-rule). A hub is known by its label
`district`, every name begins with `jharnet_`, and two targets of one district must be one figure.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest

from jharnet_monitor.judge.outages.availability import LEAST_KNOWN
from jharnet_monitor.metrics.district import DISTRICT_FAMILIES
from jharnet_monitor.metrics.offices import OFFICE_FAMILIES
from jharnet_monitor.probes.families import Family, OfficeFamily
from tests.exporters_support import EXPORTERS, RULES, alert_rules, program, read_yaml, run
from tests.test_dashboards import dashboards, panels

FAMILIES: tuple[Family | OfficeFamily, ...] = (*DISTRICT_FAMILIES, *OFFICE_FAMILIES)
COUNTERS = {family.full_name for family in FAMILIES if family.kind == "counter"}
RANGED = {"rate", "irate", "increase", "resets"}
VARIABLES = {
    "$__rate_interval": "5m", "$__range_s": "86400", "$__range": "1d", "$streams": "1",
    "$profile": "720p",
}  # fmt: skip
OF_THE_STACK = ("prometheus_", "alertmanager_")
"""Of one Prometheus and one Alertmanager, which have no district."""


def _queries() -> Iterator[tuple[str, str]]:
    for name, panel in panels():
        for target in panel["targets"]:
            yield f"{name}: {panel['title']}", target["expr"]
    for name, dashboard in dashboards().items():
        for mark in dashboard["annotations"]["list"]:
            yield f"{name}: {mark['name']}", mark["expr"]


def _rules() -> Iterator[dict[str, Any]]:
    for file in sorted(RULES.glob("*.yml")):
        for group in read_yaml(file)["groups"]:
            yield from group["rules"]


def _filled(expr: str) -> str:
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    return expr


def _parsed(expr: str) -> Any:
    return promql.parse(_filled(expr))


def _source(script: str) -> str:
    """What a script prints that imports the dashboards' source."""
    return run(sys.executable, "-c", script, cwd=EXPORTERS / "grafana" / "source")


def _nodes(tree: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Every node with those above it, the nearest last."""
    yield tree, above
    for name in ("expr", "lhs", "rhs", "vector_selector", "args"):
        inner = getattr(tree, name, None)
        for child in inner if isinstance(inner, list) else [inner]:
            if child is not None and not isinstance(child, (str, float)):
                yield from _nodes(child, (*above, tree))


def _selectors(tree: Any) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    for node, above in _nodes(tree):
        if isinstance(node, promql.VectorSelector):
            yield node, above


def _labels(selector: Any) -> set[str]:
    return {matcher.name for matcher in selector.matchers.matchers}


def test_every_query_is_promql() -> None:
    """Whatever a panel, an annotation or a rule asks is parsed."""
    for _, expr in _queries():
        _parsed(expr)
    for rule in _rules():
        _parsed(rule["expr"])


def test_every_query_names_its_district() -> None:
    """target-job-rule's purpose: no panel mixes what it does not mean to mix."""
    for where, expr in _queries():
        for selector, _ in _selectors(_parsed(expr)):
            assert "district" in _labels(selector), (where, str(selector))


def test_counters_are_read_by_their_rate_alone() -> None:
    """target-counter-agg-rule and pint's promql/rate: a counter's value by itself is meaningless,
    and only counters have a rate."""
    everything = [*_queries(), *((r.get("alert") or r["record"], r["expr"]) for r in _rules())]
    for where, expr in everything:
        for selector, above in _selectors(_parsed(expr)):
            functions = {node.func.name for node in above if isinstance(node, promql.Call)}
            name = selector.name or ""
            if name in COUNTERS:
                assert functions & RANGED, (where, name)
            elif functions & RANGED:
                assert name.endswith(("_total", "_bucket", "_sum", "_count")), (where, name)


def test_panels_take_their_rates_over_grafanas_interval() -> None:
    """target-rate-interval-rule: a fixed range is empty when zoomed out, or jagged."""
    allowed = {"$__rate_interval", "$__range", "$__range:60s", "30d"}
    for where, expr in _queries():
        assert set(re.findall(r"\[([^\]]+)\]", expr)) <= allowed, where


@pytest.mark.server("promtool")
def test_an_availability_is_shown_only_where_enough_is_known(tmp_path: Path) -> None:
    """As on the papers: an office known for two of 24 hours has none, one known for three has."""
    assert _source("import parts; print(parts.LEAST_KNOWN)") == f"{LEAST_KNOWN}\n"
    scripts = {
        ("bool", 60): "import offices; print(offices._availability('district=\"$district\"'))",
        ("ratio15m", 900): "import management; print(management.UP)",
    }
    tests = []
    for (kind, step), script in scripts.items():
        an_hour = 3600 // step
        inputs = [
            {"series": f'jharnet:office_line_up:{kind}{{district="d", office="{office}"}}',
             "values": f"0x{down * an_hour - 1} 1x{up * an_hour - 1}".removeprefix("0x-1 ")}
            for office, down, up in (("two", 0, 2), ("three", 0, 3), ("half", 2, 2))
        ]  # fmt: skip
        expected = [
            {"labels": f'{{district="d", office="{office}"}}', "value": value}
            for office, value in (("three", 1), ("half", 0.5))
        ]
        expr = _filled(_source(script).strip()).replace("$district", "d")
        test = {"expr": expr, "eval_time": "23h", "exp_samples": expected}
        tests.append({"interval": f"{step}s", "input_series": inputs, "promql_expr_test": [test]})
    file = tmp_path / "availability.yml"
    file.write_text(json.dumps({"tests": tests}), "utf-8")
    assert "SUCCESS" in run(program("promtool"), "test", "rules", file)


def test_panels_have_title_description_unit_and_the_chosen_source() -> None:
    """panel-title-description, panel-units, panel-datasource, template-datasource, and
    panel-no-targets of dashboard-linter."""
    for name, panel in panels():
        assert panel["title"], name
        assert panel["description"], name
        assert panel["targets"], name
        assert panel["fieldConfig"]["defaults"]["unit"], name
        assert panel["datasource"]["uid"] == "${datasource}", name
    for dashboard in dashboards().values():
        first = dashboard["templating"]["list"][0]
        assert (first["type"], first["query"]) == ("datasource", "prometheus")


def test_alerts_keep_their_labels_from_one_evaluation_to_the_next() -> None:
    """pint's alerts/template and alerts/comparison: no label takes the value, no alert is given by
    whatever exists; the heartbeat alone always fires."""
    for rule in alert_rules():
        assert "$value" not in json.dumps(rule["labels"]), rule["alert"]
        tree = _parsed(rule["expr"])
        compares = any(isinstance(node, promql.BinaryExpr) for node, _ in _nodes(tree)) or rule[
            "expr"
        ].startswith("absent(")
        assert compares == (rule["alert"] != "DeadMansSwitch"), rule["alert"]


def test_an_alert_of_a_district_survives_two_targets_of_it() -> None:
    """Duplicate series: what is joined or compared was made one per district before."""
    for rule in alert_rules():
        tree = _parsed(rule["expr"])
        joined = any(
            isinstance(node, promql.BinaryExpr) and node.modifier is not None
            for node, _ in _nodes(tree)
        )
        for selector, above in _selectors(tree):
            name = selector.name or ""
            if not joined or not name.startswith("jharnet_"):
                continue
            one = any(isinstance(node, promql.AggregateExpr) for node in above)
            assert one or _only_requested(above), (rule["alert"], name)


def _only_requested(above: tuple[Any, ...]) -> bool:
    """On the right of `and` or `unless`, where several series do no harm."""
    return any(
        isinstance(node, promql.BinaryExpr) and str(node.op) in ("and", "unless") for node in above
    )


def test_recorded_names_have_level_metric_and_operation() -> None:
    """pint's rule/name, prometheus.io/docs/practices/rules: level:metric:operations."""
    for rule in _rules():
        if "record" in rule:
            assert re.fullmatch(r"jharnet:[a-z_]+:[a-z0-9_]+", rule["record"]), rule["record"]


def test_every_exported_metric_is_seen_somewhere() -> None:
    """A panel or a rule uses it; what is for other programs is listed with its reason."""
    text = "\n".join(
        [*(expr for _, expr in _queries()), *(rule["expr"] for rule in _rules()),
         json.dumps([d["templating"] for d in dashboards().values()]),
         *(json.dumps(rule.get("annotations", {})) for rule in alert_rules())]
    )  # fmt: skip
    for family in FAMILIES:
        used = re.search(rf"\b{family.full_name}(_bucket)?\b", text)
        chosen = re.search(rf"[(|]{family.name}[|)]", text)
        assert used or chosen or family.name in UNSEEN, family.full_name


UNSEEN = {
    "agent_info": "`update status` and the API list versions",
    "agent_update_state": "`update status` and the API name them; a rollout halts by itself",
    "database_set_aside_records": "the hub's page, readiness and log name them",
    "district_info": "names of the district, for other programs",
}
"""Metrics that no panel and no rule uses, and why."""


def test_the_mixins_rules_are_those_that_are_shipped() -> None:
    """A change of a rule needs a run of build.py; jsonnet reads the copy."""
    script = "import build, json; print(json.dumps(build.mixin()))"
    made = json.loads(run(sys.executable, "-c", script, cwd=EXPORTERS / "grafana" / "source"))
    shipped = {f.name: f.read_text("utf-8") for f in (EXPORTERS / "mixin").glob("*.json")}
    assert shipped == made, "run `python exporters/grafana/source/build.py`"


@pytest.mark.server("jsonnet", "promtool")
def test_the_mixin_gives_valid_rules_and_every_dashboard(tmp_path: Path) -> None:
    """By Debian's jsonnet; another selector and more labels reach every rule."""
    change = "{_config+:: {jharnetSelector: 'job=\"hubs\"', alertLabels: {state: 'jh'}}}"
    mixin = f"((import '{EXPORTERS}/mixin.libsonnet') + {change})"
    for part in ("prometheusAlerts", "prometheusRules"):
        text = run(program("jsonnet"), "-e", f"{mixin}.{part}")
        file = tmp_path / f"{part}.yml"
        file.write_text(text, "utf-8")
        assert "SUCCESS" in run(program("promtool"), "check", "rules", file)
        assert 'job=\\"jharnet-monitor\\"' not in text
    labels = [r["labels"] for g in json.loads((tmp_path / "prometheusAlerts.yml").read_text())
              ["groups"] for r in g["rules"]]  # fmt: skip
    assert all(one["state"] == "jh" for one in labels)
    boards = json.loads(run(program("jsonnet"), "-e", f"{mixin}.grafanaDashboards"))
    assert {name.removesuffix(".json") for name in boards} == set(dashboards())
