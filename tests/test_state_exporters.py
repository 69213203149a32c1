"""What is shipped for the state: written from its one list, and taken by the real programs."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import create_engine

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.config.state_file import StateFile
from jharnet_monitor.config.yaml_model import load_yaml_model
from jharnet_monitor.help.pages import page
from jharnet_monitor.state.rules import expected_rules, variable_of, vmauth_config
from jharnet_monitor.state.table import StateTable
from tests.exporters_support import EXPORTERS, made_up_hub, program, read_yaml, run
from tests.faults import state as state_faults
from tests.state_support import WEEK, Statewide, drawn_week
from tests.store_support import Postgres

FOLDER = EXPORTERS / "state"
ANSIBLE = EXPORTERS / "ansible"
STATE = load_yaml_model(FOLDER / "state.yaml", StateFile)


def test_rules_and_users_are_what_the_list_makes() -> None:
    """Whoever changes the list writes them anew."""
    made = {"rules/districts.yml": expected_rules(STATE), "vmauth.yml": vmauth_config(STATE)}
    for name, text in made.items():
        assert (FOLDER / name).read_text("utf-8") == text, "run `jharnet-monitor state rules`"


@pytest.mark.server("promtool", "vmauth", "vmalert", "prometheus-alertmanager")
def test_the_programs_take_what_is_shipped() -> None:
    """The rules pass their tests; vmauth and vmalert read their files."""
    run(program("promtool"), "test", "rules", "tests/state.yml", cwd=FOLDER)
    run(program("vmalert"), "-dryRun", f"-rule={FOLDER}/rules/*.yml")
    users = [*(district.id for district in STATE.districts), "grafana", "vmalert"]
    environment = {variable_of(user): "x" for user in users}
    subprocess.run(
        [program("vmauth"), f"-auth.config={FOLDER}/vmauth.yml", "-dryRun"],
        env=os.environ | environment, check=True, capture_output=True,
    )  # fmt: skip


def test_every_alert_of_the_state_is_explained() -> None:
    """In both languages, with what to do, and on the help's page."""
    groups = read_yaml(FOLDER / "rules/state.yml")["groups"]
    alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    described = page("state", "en").text
    tests = (FOLDER / "tests/state.yml").read_text("utf-8")
    assert len(alerts) == 4
    for alert in alerts:
        assert f"`{alert['alert']}`" in described
        assert f'"{alert["alert"]}"' in tests
        notes = alert["annotations"]
        wanted: tuple[str, ...] = ("summary", "summary_hi")
        if alert["labels"]["severity"] != "none":
            wanted += ("description", "description_hi", "action", "action_hi")
        assert set(notes) == set(wanted)
        for name, text in notes.items():
            assert bool(re.search("[\u0900-\u097f]", text)) == name.endswith("_hi"), (name, text)


def dashboard() -> dict[str, Any]:
    """The state's dashboard as Grafana reads it."""
    made: dict[str, Any] = json.loads((FOLDER / "grafana/dashboards/weeks.json").read_text("utf-8"))
    return made


def test_the_dashboard_is_what_its_source_makes() -> None:
    """And its data sources are provisioned."""
    script = "import build, json; print(json.dumps(build.state_files()))"
    made = json.loads(run(sys.executable, "-c", script, cwd=EXPORTERS / "grafana/source"))
    assert json.loads(made["weeks.json"]) == dashboard()
    [*sources] = read_yaml(
        FOLDER / "grafana/provisioning/datasources/jharnet-state.yaml"
    )["datasources"]  # fmt: skip
    used = set(re.findall(r'"uid": "(jharnet[\w-]*)"', json.dumps(dashboard()["panels"])))
    assert used <= {source["uid"] for source in sources}


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL cluster for this file."""
    cluster = Postgres()
    yield cluster
    cluster.remove()


@pytest.mark.server("initdb", "pg_ctl", "pg_dump")
def test_every_query_of_the_dashboard_gives_rows(tmp_path: Path, postgres: Postgres) -> None:
    """On the table as the receiver fills it; a silent district is among the ranked ones."""
    one = Statewide(tmp_path, postgres.new_database(), 6)
    table = StateTable(one.state.database)
    table.prepare(one.state.districts)
    for district in one.state.districts[:5]:
        week = drawn_week(district.id)
        table.add(one.sign(week), week, district.keys[0], SystemClock().now())
    table.close()
    engine = create_engine(one.state.database.replace("postgresql:", "postgresql+psycopg:"))
    found: dict[str, int] = {}
    with engine.connect() as connection:
        for panel in dashboard()["panels"]:
            for target in panel["targets"]:
                if "rawSql" in target:
                    sql = re.sub(r"\$__timeFilter\(([^)]+)\)", r"\1 > '2020-01-01'",
                                 target["rawSql"].replace("$week", WEEK))  # fmt: skip
                    found[panel["title"]] = len(connection.exec_driver_sql(sql).all())
    engine.dispose()
    assert len(found) == 11
    assert found["Districts by rank"] == 6
    assert [title for title, rows in found.items() if not rows] == []


@pytest.mark.timeout(600)
@pytest.mark.server("victoria-metrics", "vmagent", "vmauth", "prometheus")
async def test_a_killed_node_loses_no_sample(tmp_path: Path) -> None:
    """A sample of `tests/faults/state.py`: the other node answers, nothing is lost, and a district
    that lies about its label writes and reads as itself."""
    async with contextlib.AsyncExitStack() as stack:
        hubs: dict[str, int] = {}
        for name in (state_faults.SILENT, state_faults.LIAR):
            (tmp_path / name).mkdir()
            hubs[name] = await stack.enter_async_context(made_up_hub(tmp_path / name, 1))
        rows = await state_faults.sample(tmp_path, hubs)
    assert [row for row in rows if row.ok is False] == []


def test_units_and_containers_name_what_is_there() -> None:
    """Every file that they read is shipped, made by a command, or a secret."""
    shipped = {file.name for file in FOLDER.rglob("*") if file.is_file()}
    texts = [file.read_text("utf-8") for file in (FOLDER / "systemd").glob("*.service")]
    texts.append((FOLDER / "compose.yaml").read_text("utf-8"))
    for text in texts:
        for name in re.findall(r"/etc/jharnet(?:-state)?/([\w./*-]+\.yml)", text):
            assert name == "rules/*.yml" or name in shipped, name
    services = read_yaml(FOLDER / "compose.yaml")["services"]
    assert {"node-a", "node-b", "vmagent", "vmauth", "vmalert", "receiver"} <= set(services)
    assert all(one["read_only"] and one["cap_drop"] == ["ALL"] for one in services.values())


def test_the_role_names_what_is_there() -> None:
    """Tasks, templates and handlers of the Ansible role exist; each task has a name."""
    role = ANSIBLE / "roles/jharnet_hub"
    handlers = {one["name"] for one in read_yaml(role / "handlers/main.yml")}
    tasks = [one for file in (role / "tasks").glob("*.yml") for one in _tasks(read_yaml(file))]
    assert len(tasks) > 20
    for task in tasks:
        assert task["name"], task
        notified = task.get("notify", [])
        assert {notified} if isinstance(notified, str) else set(notified) <= handlers
        if "ansible.builtin.include_tasks" in task:
            assert (role / "tasks" / task["ansible.builtin.include_tasks"]).exists()
        if "ansible.builtin.template" in task:
            assert (role / "templates" / task["ansible.builtin.template"]["src"]).exists()
    hosts = set(read_yaml(ANSIBLE / "hosts.yml")["hubs"]["hosts"])
    assert hosts <= {district.id for district in STATE.districts}
    yaml.safe_load((ANSIBLE / "hubs.yml").read_text("utf-8"))


def _tasks(listed: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for task in listed:
        yield task
        yield from _tasks(task.get("block", []))
        yield from _tasks(task.get("always", []))
