"""The stack that an engineer starts: containers, Debian packages, and the state's own store."""

from __future__ import annotations

import asyncio
import re
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.exporters_support import (
    EXPORTERS,
    free_port,
    get_json,
    made_up_hub,
    program,
    prometheus,
    read_yaml,
    run,
    server,
)

COMPOSE = EXPORTERS / "compose.yaml"
CONFIGURATION = EXPORTERS / "prometheus" / "prometheus.yml"
MADE_BY_THE_ENGINEER = ("./hub", "./secrets/")


def _services() -> dict[str, dict[str, Any]]:
    services: dict[str, dict[str, Any]] = read_yaml(COMPOSE)["services"]
    return services


def test_the_containers_are_pinned_watched_and_keep_their_data() -> None:
    """Hub, Prometheus, Alertmanager and Grafana: a version each, a health check, named volumes;
    what is mounted is there, and each gets only its own secrets."""
    services, volumes = _services(), read_yaml(COMPOSE)["volumes"]
    assert "./secrets" not in COMPOSE.read_text("utf-8").replace("./secrets/", "")
    assert set(services) == {"hub", "prometheus", "alertmanager", "grafana"}
    for name, service in services.items():
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"]), name
        assert service["healthcheck"]["test"][0] == "CMD"
        sources = {mount.split(":")[0] for mount in service["volumes"]}
        here = {source for source in sources if source.startswith("./")}
        assert sources - here <= set(volumes)
        ours = {source for source in here if not source.startswith(MADE_BY_THE_ENGINEER)}
        assert all((EXPORTERS / source).is_dir() for source in ours)
    version = re.search(r'version = "([^"]+)"', (EXPORTERS.parent / "pyproject.toml").read_text())
    assert version
    assert services["hub"]["image"].endswith(f":{version[1]}")


@pytest.mark.server("prometheus", "prometheus-alertmanager")
def test_containers_and_tests_run_the_same_versions() -> None:
    """What CI tests from Debian is what the containers are."""
    services = _services()
    for name, binary in (("prometheus", "prometheus"), ("alertmanager", "prometheus-alertmanager")):
        pinned = services[name]["image"].rpartition(":v")[2].rsplit(".", 1)[0]
        found = re.search(r"version (\d+\.\d+)\.", run(program(binary), "--version"))
        assert found
        assert found[1] == pinned, f"{name}: pin what Debian has, and test both again"


def test_ports_and_paths_agree() -> None:
    """Prometheus finds Alertmanager where it listens; Grafana finds Prometheus and dashboards."""
    services, config = _services(), read_yaml(CONFIGURATION)
    [port] = re.findall(r"127.0.0.1:(\d+)", " ".join(services["alertmanager"]["command"]))
    assert config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] == [
        f"localhost:{port}"
    ]
    listen = " ".join(services["prometheus"]["command"])
    assert (
        services["grafana"]["environment"]["JHARNET_PROMETHEUS"].removeprefix("http://") in listen
    )
    assert "./grafana/dashboards:/etc/grafana/dashboards:ro" in services["grafana"]["volumes"]


def _written_to(store: str, hub: int, directory: Path) -> Path:
    """The shipped configuration with its remote write uncommented, for one hub without TLS."""
    text = CONFIGURATION.read_text("utf-8")
    start = text.index("# remote_write:")
    config = yaml.safe_load(text[:start] + re.sub(r"^# ?", "", text[start:], flags=re.MULTILINE))
    write = config["remote_write"][0]
    write["url"] = f"{store}/api/v1/write"
    del write["basic_auth"]  # vmauth asks for it, not the store itself
    write["queue_config"] = {"batch_send_deadline": "200ms"}
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(EXPORTERS / "prometheus" / "rules" / "*.yml")]
    del config["alerting"]
    scrape = config["scrape_configs"][0]
    config["scrape_configs"] = [scrape]
    del scrape["tls_config"]
    scrape["scheme"] = "http"
    scrape["static_configs"][0]["targets"] = [f"127.0.0.1:{hub}"]
    file = directory / "prometheus.yml"
    file.write_text(yaml.safe_dump(config), "utf-8")
    return file


@pytest.mark.server("prometheus", "victoria-metrics")
async def test_the_states_store_has_each_district_by_its_label(tmp_path: Path) -> None:
    """By the README's recipe a real VictoriaMetrics gets the project's series, recorded ones too,
    with `district`, and nothing else."""

    def collect(hub: int) -> set[str]:
        port = free_port()
        store = f"http://127.0.0.1:{port}"
        argv = [
            program("victoria-metrics"), f"-storageDataPath={tmp_path / 'store'}",
            f"-httpListenAddr=127.0.0.1:{port}", "-retentionPeriod=5y",
        ]  # fmt: skip
        with (
            server(argv, f"{store}/health", tmp_path / "store.log"),
            prometheus(_written_to(store, hub, tmp_path), tmp_path),
        ):
            deadline = time.monotonic() + 60
            wanted = 'jharnet:offices:count_by_state{district="east-singhbhum", state="up"}'
            while time.monotonic() < deadline:
                # otherwise the store shows what it received only after ten seconds
                urllib.request.urlopen(f"{store}/internal/force_flush", timeout=60).close()  # noqa: S310
                answer = get_json(f"{store}/api/v1/query", query=wanted, latency_offset="1ms")
                if answer["data"]["result"]:
                    break
                time.sleep(0.1)
            assert answer["data"]["result"][0]["value"][1] == "3"
            of_others = get_json(
                f"{store}/api/v1/query", query='count({district=""})', latency_offset="1ms"
            )
            assert of_others["data"]["result"] == []
            return set(get_json(f"{store}/api/v1/label/__name__/values")["data"])

    async with made_up_hub(tmp_path, 3) as hub:
        names = await asyncio.to_thread(collect, hub)
    assert "jharnet_office_state" in names
    assert {n for n in names if not n.startswith(("jharnet_", "jharnet:"))} <= {
        "ALERTS",
        "ALERTS_FOR_STATE",
        "up",
    }
