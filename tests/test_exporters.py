"""Scrape configuration, rules and routes: what is shipped is valid and does its work."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from jharnet_monitor.web.help import help_page
from tests.exporters_support import (
    EXPORTERS,
    RULES,
    alert_rules,
    metric_names,
    program,
    read_yaml,
    run,
)

PROMETHEUS = EXPORTERS / "prometheus"
ALERTMANAGER = EXPORTERS / "alertmanager" / "alertmanager.yml"
RULE_TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
ANNOTATIONS = (
    "summary", "summary_hi", "description", "description_hi", "action", "action_hi",
)  # fmt: skip
ADDRESSES = ("runbook_url", "page_url", "dashboard_url")
SINCE_KNOWN = {"OfficeUnreachable"}
"""The hub exports since when; no `for` is needed."""
SINCE_UNKNOWN = {
    "HubNotScraped", "PrometheusRulesFail", "PrometheusConfigReloadFailed", "AlertsNotDelivered",
    "AlertmanagerDown", "NotificationsFail", "AlertmanagerConfigReloadFailed", "DistrictTwice",
}  # fmt: skip
"""Of no district, or of two, so of no time zone."""
DEVANAGARI = re.compile(r"[\u0900-\u097f]")


@pytest.mark.server("promtool")
def test_prometheus_takes_configuration_and_rules() -> None:
    """promtool finds nothing wrong, and all rules are found from the configuration."""
    message = run(
        program("promtool"), "check", "config", "--lint-fatal", PROMETHEUS / "prometheus.yml"
    )
    assert f"{len(list(RULES.glob('*.yml')))} rule files found" in message


@pytest.fixture(scope="module")
def rule_tests() -> Iterator[dict[Path, Future[str]]]:
    """`promtool test` of every file; each run takes seconds of one core."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {
            file: pool.submit(run, program("promtool"), "test", "rules", file)
            for file in RULE_TESTS
        }
        pool.shutdown(cancel_futures=True)


@pytest.mark.server("promtool")
@pytest.mark.parametrize("file", RULE_TESTS, ids=lambda file: file.stem)
def test_rules_do_what_they_say(file: Path, rule_tests: dict[Path, Future[str]]) -> None:
    """Every alert fires, stays firing, resolves, and is silent where it should be."""
    assert "SUCCESS" in rule_tests[file].result()


def _requested_states() -> dict[str, set[str]]:
    """Per alert, which of `firing`, `pending` and (the whole list was asked for) `nothing`."""
    requested: dict[str, set[str]] = {}
    for file in RULE_TESTS:
        for test in read_yaml(file)["tests"]:
            seen: set[str] = set()
            for check in test["promql_expr_test"]:
                if "ALERTS" not in check["expr"]:
                    continue
                here = set()
                for sample in check.get("exp_samples") or ():
                    labels = dict(re.findall(r'(\w+)="([^"]*)"', sample["labels"]))
                    name = labels.get("alertname", "CertificateExpires")
                    requested.setdefault(name, set()).add(labels.get("alertstate", "firing"))
                    here.add(name)
                for gone in seen - here:
                    requested[gone].add("gone")
                seen |= here
    return requested


def test_every_alert_is_tested() -> None:
    """Each alert is tested while it fires and after it resolved, and while pending if it waits
    before it fires."""
    requested = _requested_states()
    assert set(requested) == {rule["alert"] for rule in alert_rules()}
    for rule in alert_rules():
        wanted = {"firing", "gone"}
        if "for" in rule and rule["alert"] != "CertificateExpires":
            wanted.add("pending")
        if rule["alert"] == "DeadMansSwitch":
            wanted = {"firing"}
        assert requested[rule["alert"]] >= wanted, rule["alert"]


def test_every_alert_speaks_both_languages_and_leads_to_its_runbook() -> None:
    """Summary, description and what to do in English and Hindi, since when, a runbook anchor, the
    hub's page, a dashboard, a severity and a team."""
    anchors = {heading.anchor for heading in help_page("runbook", "en").headings}
    for rule in alert_rules():
        notes, labels = rule["annotations"], rule["labels"]
        waits = {"since"} if "for" in rule or rule["alert"] in SINCE_KNOWN else set()
        waits -= {"since"} if rule["alert"] in SINCE_UNKNOWN else set()
        assert set(notes) == {*ANNOTATIONS, *ADDRESSES, *waits}, rule["alert"]
        for key in ANNOTATIONS:
            assert bool(DEVANAGARI.search(notes[key])) == key.endswith("_hi"), (rule["alert"], key)
        for key in ADDRESSES:
            assert notes[key].startswith('{{ with query (printf "jharnet:hub:info{district'), key
        assert notes["runbook_url"].endswith(f"/help/runbook#{rule['alert'].lower()}")
        assert rule["alert"].lower() in anchors
        assert labels["severity"] in ("critical", "warning", "info", "none")
        assert labels["team"] in ("network", "office", "e-governance", "monitor")


def test_rules_use_only_metrics_that_the_hub_has() -> None:
    """A metric renamed in the code cannot leave an alert behind that never fires again."""
    text = "\n".join(file.read_text("utf-8") for file in RULES.glob("*.yml"))
    named = re.sub(r"#.*", "", text).replace('"jharnet_(.+)"', "")
    [choice] = re.findall(r'\{__name__=~"jharnet_\(([\w|]+)\)"\}', named)
    named = named.replace(
        f"jharnet_({choice})", " ".join(f"jharnet_{n}" for n in choice.split("|"))
    )
    expressions = re.findall(r"\bjharnet_\w+", named)
    assert set(expressions) - metric_names() == set()
    recorded = set(re.findall(r"record: (\S+)", text))
    assert set(re.findall(r"\bjharnet:[\w:]+", text)) == recorded


ROUTES = {
    "alertname=DeadMansSwitch severity=none team=monitor": "heartbeat",
    "alertname=UplinkDown severity=critical team=network district=d": "sms,network",
    "alertname=OfficeUnreachable severity=critical team=network office=potka": "sms,network",
    "alertname=OfficeLanDown severity=warning team=office office=potka": "office",
    "alertname=OfficeLineWasDown severity=info team=network cause=link_down": "operator",
    "alertname=OfficePowerWasDown severity=info team=office cause=power_down": "electricity",
    "alertname=PacketLossHigh severity=warning team=network office=potka": "network",
    "alertname=ConferenceGradeLow severity=warning team=e-governance": "e-governance",
    "alertname=HubDown severity=critical team=monitor": "sms,monitor",
    "alertname=ClockWrong severity=warning team=monitor": "monitor",
    "alertname=SomethingNew": "monitor",
}
"""By labels, who is told."""


@pytest.mark.server("amtool")
def test_alertmanager_takes_its_configuration() -> None:
    """amtool finds nothing wrong with configuration and mail templates; no secret is in it."""
    assert "SUCCESS" in run(program("amtool"), "check-config", ALERTMANAGER)
    text = ALERTMANAGER.read_text("utf-8")
    assert not re.search(r"(password|secret|token|api_url|\burl):", text)


def _rendered(directory: Path, kind: str, notes: dict[str, str]) -> str:
    alert = {
        "status": "firing", "labels": {"alertname": "UplinkDown"}, "annotations": notes,
        "startsAt": "2026-11-25T06:30:00Z", "endsAt": "2026-11-25T06:40:00Z",
    }  # fmt: skip
    data = directory / "data.json"
    data.write_text(json.dumps({"status": "firing", "alerts": [alert]}), "utf-8")
    return run(
        program("amtool"), "template", "render", f"--template.data={data}",
        f"--template.glob={ALERTMANAGER.parent}/templates/*.tmpl",
        f"--template.type={kind}", f'--template.text={{{{ template "jharnet.{kind}" . }}}}',
    )  # fmt: skip


@pytest.mark.server("amtool")
def test_a_mail_says_since_when_what_to_do_and_where_to_look(tmp_path: Path) -> None:
    """The true start, the action, and three addresses; unknown parts are left out."""
    runbook = "https://hub.d:9797/help/runbook#uplinkdown"
    dashboard = "http://grafana.d:3000/d/jharnet-district?var-district=d"
    page = "https://hub.d:9797/"
    notes = {
        "summary": "S", "since": "25-11-2026 11:58 IST", "action": "Call.",
        "action_hi": "फ़ोन करें।", "runbook_url": runbook, "page_url": page,
        "dashboard_url": dashboard,
    }  # fmt: skip
    plain, html = (_rendered(tmp_path, kind, notes) for kind in ("text", "html"))
    assert "Since / कब से: 25-11-2026 11:58 IST\n" in plain
    assert "What to do: Call.\nक्या करें: फ़ोन करें।\n" in plain
    assert (
        f"Runbook / कार्य-पुस्तिका: {runbook}\nOn the hub / हब पर: {page}\n"
        f"Figures / आँकड़े: {dashboard}\n"
    ) in plain
    for address in (runbook, page, dashboard):
        assert f'<a href="{address}">' in html
    less = notes | {"dashboard_url": "", "since": ""}
    assert "Figures" not in _rendered(tmp_path, "text", less)
    assert "Since / कब से: 25-11-2026 12:00 IST\n" in _rendered(tmp_path, "text", less)


@pytest.mark.server("amtool")
@pytest.mark.parametrize(("labels", "receivers"), ROUTES.items(), ids=lambda text: text[:40])
def test_each_alert_reaches_those_it_concerns(labels: str, receivers: str) -> None:
    """`amtool config routes test`: by severity and team; line and power go different ways."""
    run(
        program("amtool"), "config", "routes", "test", f"--config.file={ALERTMANAGER}",
        f"--verify.receivers={receivers}", *labels.split(),
    )  # fmt: skip


def test_every_alert_has_a_route_that_is_held() -> None:
    """Whatever severity, team and cause occur in the rules occur among the routes tested."""

    def kind(labels: dict[str, str]) -> tuple[str | None, ...]:
        return labels["severity"], labels["team"], labels.get("cause")

    held = {
        kind(labels)
        for text in ROUTES
        if "team" in (labels := dict(word.split("=") for word in text.split()))
    }
    used = {kind(rule["labels"]) for rule in alert_rules()}
    assert used - held <= {("warning", "e-governance", None), ("info", "monitor", None)}


def test_nothing_is_inhibited_or_muted() -> None:
    """Alertmanager swallows the end of an alert that it inhibits or mutes, and with it the next
    start; therefore the condition that keeps an alert silent is part of its rule."""
    text = ALERTMANAGER.read_text("utf-8")
    config = read_yaml(ALERTMANAGER)
    assert "inhibit_rules" not in config
    assert "mute_time_intervals" not in re.sub(r"#.*", "", text)


def test_no_alert_can_return_between_two_messages() -> None:
    """An alert that waits before it fires waits longer than `group_interval`: its end is sent
    before it can begin again."""
    route = read_yaml(ALERTMANAGER)["route"]
    assert route["group_interval"] == "30s"
    assert not any("group_interval" in one for one in route["routes"][1:])
    for rule in alert_rules():
        assert rule.get("for", "1m").endswith(("m", "h")), rule["alert"]
