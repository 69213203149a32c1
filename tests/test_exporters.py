"""Scrape configuration, rules and routes: what is shipped is valid and does its work."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jharnet_monitor.web.help import help_page
from tests.exporters_support import (
    EXPORTERS,
    RULES,
    alert_rules,
    alertmanager,
    get_json,
    metric_names,
    program,
    read_yaml,
    run,
)

PROMETHEUS = EXPORTERS / "prometheus"
ALERTMANAGER = EXPORTERS / "alertmanager" / "alertmanager.yml"
RULE_TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
ANNOTATIONS = ("summary", "summary_hi", "description", "description_hi")
DEVANAGARI = re.compile(r"[\u0900-\u097f]")


@pytest.mark.server("promtool")
def test_prometheus_takes_configuration_and_rules() -> None:
    """promtool finds nothing wrong, and all rules are found from the configuration."""
    said = run(
        program("promtool"), "check", "config", "--lint-fatal", PROMETHEUS / "prometheus.yml"
    )
    assert f"{len(list(RULES.glob('*.yml')))} rule files found" in said


@pytest.mark.server("promtool")
@pytest.mark.parametrize("file", RULE_TESTS, ids=lambda file: file.stem)
def test_rules_do_what_they_say(file: Path) -> None:
    """Every alert fires, holds, resolves, and is silent where it should be (`promtool test`)."""
    assert "SUCCESS" in run(program("promtool"), "test", "rules", file)


def _states_asked_for() -> dict[str, set[str]]:
    """Per alert, which of `firing`, `pending` and (the whole list was asked for) `nothing`."""
    asked: dict[str, set[str]] = {}
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
                    asked.setdefault(name, set()).add(labels.get("alertstate", "firing"))
                    here.add(name)
                for gone in seen - here:
                    asked[gone].add("gone")
                seen |= here
    return asked


def test_every_alert_is_tested() -> None:
    """Each alert is asked for firing and gone, and pending where it waits before it fires."""
    asked = _states_asked_for()
    assert set(asked) == {rule["alert"] for rule in alert_rules()}
    for rule in alert_rules():
        wanted = {"firing", "gone"}
        if "for" in rule and rule["alert"] != "CertificateExpires":
            wanted.add("pending")
        if rule["alert"] == "DeadMansSwitch":
            wanted = {"firing"}
        assert asked[rule["alert"]] >= wanted, rule["alert"]


def test_every_alert_speaks_both_languages_and_leads_to_its_runbook() -> None:
    """Summary and description in English and Hindi, a runbook anchor, a severity and a team."""
    anchors = {heading.anchor for heading in help_page("runbook", "en").headings}
    for rule in alert_rules():
        notes, labels = rule["annotations"], rule["labels"]
        assert set(notes) == {*ANNOTATIONS, "runbook_url", "dashboard_url"}, rule["alert"]
        for key in ANNOTATIONS:
            assert bool(DEVANAGARI.search(notes[key])) == key.endswith("_hi"), (rule["alert"], key)
        for key in ("runbook_url", "dashboard_url"):
            assert notes[key].startswith('{{ with query (printf "jharnet:hub:info{district'), key
        assert notes["runbook_url"].endswith(f"/help/runbook#{rule['alert'].lower()}")
        assert rule["alert"].lower() in anchors
        assert labels["severity"] in ("critical", "warning", "info", "none")
        assert labels["team"] in ("network", "office", "e-governance", "monitor")


def test_rules_use_only_metrics_that_the_hub_has() -> None:
    """A metric renamed in the code cannot leave an alert behind that never fires again."""
    text = "\n".join(file.read_text("utf-8") for file in RULES.glob("*.yml"))
    expressions = re.findall(r"\bjharnet_\w+", re.sub(r"#.*", "", text))
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
def test_a_mail_leads_to_runbook_and_dashboard(tmp_path: Path) -> None:
    """Both addresses are links, and what is not known is left out."""
    runbook = "https://hub.d:9797/help/runbook#uplinkdown"
    dashboard = "http://grafana.d:3000/d/jharnet-district?var-district=d"
    notes = {"summary": "S", "runbook_url": runbook, "dashboard_url": dashboard}
    plain, html = (_rendered(tmp_path, kind, notes) for kind in ("text", "html"))
    assert f"What to do / क्या करें: {runbook}\nWhere to look / कहाँ देखें: {dashboard}\n" in plain
    assert f'<a href="{runbook}">' in html
    assert f'<a href="{dashboard}">' in html
    assert "Where to look" not in _rendered(tmp_path, "text", notes | {"dashboard_url": ""})


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


def _suppressed(url: str) -> dict[str, bool]:
    return {
        alert["labels"]["alertname"]: bool(alert["status"]["inhibitedBy"])
        for alert in get_json(f"{url}/api/v2/alerts")
    }


def _tell(url: str, alerts: list[dict[str, str]]) -> None:
    now = datetime.now(UTC).isoformat()
    body = json.dumps([{"labels": labels, "startsAt": now} for labels in alerts]).encode()
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{url}/api/v2/alerts", body, {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=10).close()  # noqa: S310 - loopback


def _labelled(name: str, **more: str) -> dict[str, str]:
    [rule, *_] = [rule for rule in alert_rules() if rule["alert"] == name]
    return {"alertname": name, "district": "d", **rule["labels"], **more}


INHIBITED: list[tuple[str, list[str], dict[str, bool]]] = [
    (
        "uplink",
        ["UplinkDown", "OfficeUnreachable", "PacketLossHigh", "AgentAbsent", "HubDown"],
        {"UplinkDown": False, "OfficeUnreachable": True, "PacketLossHigh": True,
         "AgentAbsent": True, "HubDown": False},
    ),
    (
        "office",
        ["OfficeUnreachable", "PacketLossHigh", "LatencyHigh", "BandwidthUnderContract",
         "ConferenceGradeLow", "OfficePowerWasDown"],
        {"OfficeUnreachable": False, "PacketLossHigh": True, "LatencyHigh": True,
         "BandwidthUnderContract": True, "ConferenceGradeLow": True, "OfficePowerWasDown": False},
    ),
    (
        "loss",
        ["PacketLossHigh", "LatencyHigh", "JitterHigh", "BandwidthUnderContract"],
        {"PacketLossHigh": False, "LatencyHigh": True, "JitterHigh": True,
         "BandwidthUnderContract": False},
    ),
    (
        "line",
        ["LineCapacityLow", "BandwidthUnderContract", "Bufferbloat"],
        {"LineCapacityLow": False, "BandwidthUnderContract": True, "Bufferbloat": False},
    ),
]  # fmt: skip


@pytest.mark.server("prometheus-alertmanager")
@pytest.mark.parametrize(
    ("names", "expected"), [case[1:] for case in INHIBITED], ids=[case[0] for case in INHIBITED]
)
def test_the_greater_fault_silences_the_lesser(
    tmp_path: Path, names: list[str], expected: dict[str, bool]
) -> None:
    """A real Alertmanager with the shipped file: uplink → offices, down → loss → latency; another
    office and another district are untouched."""
    with alertmanager(ALERTMANAGER, tmp_path) as url:
        offices = {rule["alert"] for rule in alert_rules() if "$labels.name " in str(rule)}
        of_office = offices | {n for n in names if n not in ("UplinkDown", "HubDown")}
        here = [_labelled(n, **({"office": "potka"} if n in of_office else {})) for n in names]
        _tell(url, here)
        deadline = time.monotonic() + 10
        while _suppressed(url) != expected and time.monotonic() < deadline:
            time.sleep(0.2)
        assert _suppressed(url) == expected
        elsewhere = _labelled("JitterHigh", district="e", office="potka", probe_of="another")
        _tell(url, [elsewhere])
        others = get_json(f"{url}/api/v2/alerts", filter='district="e"')
        assert [alert["status"]["inhibitedBy"] for alert in others] == [[]]
