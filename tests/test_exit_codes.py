"""How `run` ends when it cannot start: systemd must restart it, unless a person has to act."""

from __future__ import annotations

import configparser
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONFIG = """
district: {{id: d, name: East Singhbhum, name_hi: पूर्वी सिंहभूम}}
hub: {{listen: "{listen}", database: "{database}", tls: off, uplink: {{contracted: 34 Mbit/s}}}}
offices: [{{id: potka, name: Potka, name_hi: पोटका, pc: 127.0.0.2}}]
"""


@pytest.fixture
def taken() -> Iterator[str]:
    """An address on which somebody else listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield f"127.0.0.1:{other.getsockname()[1]}"


def start(directory: Path, listen: str, database: str = "sqlite:///monitor.db") -> tuple[int, str]:
    """Exit code and last line of a hub that ends by itself."""
    file = directory / "jharnet.yaml"
    file.write_text(CONFIG.format(listen=listen, database=database), "utf-8")
    command = [sys.executable, "-m", "jharnet_monitor", "run", "--config", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr.strip().splitlines()[-1]


def restarts_after(code: int) -> bool:
    """Whether the systemd unit starts the hub again after this exit code."""
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.read(ROOT / "config/systemd/jharnet-monitor.service")
    service = unit["Service"]
    return service["Restart"] == "always" and str(code) not in service[
        "RestartPreventExitStatus"
    ].split()  # fmt: skip


def test_an_address_that_is_not_there_yet_may_come(tmp_path: Path) -> None:
    """The VPN's interface comes up after the hub: exit 1, one line, and systemd tries again."""
    code, told = start(tmp_path, "203.0.113.7:9797")
    assert (code, restarts_after(code)) == (1, True)
    assert told.startswith("error: ") and "cannot listen on 203.0.113.7:9797" in told


def test_an_address_that_is_taken_may_become_free(tmp_path: Path, taken: str) -> None:
    """The hub of before has not ended yet."""
    code, told = start(tmp_path, taken)
    assert (code, restarts_after(code)) == (1, True)
    assert "is another hub running" in told


def test_a_database_that_is_not_up_yet_may_come(tmp_path: Path) -> None:
    """After a power cut PostgreSQL may need longer than the hub."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    code, told = start(tmp_path, listen, "postgresql://u@127.0.0.1:1/x")
    assert (code, restarts_after(code)) == (1, True)
    assert told.startswith("error: hub.database: postgresql://u@127.0.0.1:1/x: ")


def test_a_wrong_configuration_needs_a_person(tmp_path: Path) -> None:
    """Exit 2: trying again would only fill the journal."""
    code, told = start(tmp_path, "nonsense")
    assert (code, restarts_after(code)) == (2, False)
    assert "jharnet.yaml:3: hub.listen:" in told


def test_a_hub_that_does_not_answer_may_come(tmp_path: Path) -> None:
    """The same holds for the commands that ask a running hub."""
    (tmp_path / "jharnet.yaml").write_text(
        CONFIG.format(listen="127.0.0.1:1", database="sqlite:///monitor.db"), "utf-8"
    )
    command = [sys.executable, "-m", "jharnet_monitor", "reload", "--config"]
    done = subprocess.run(
        [*command, str(tmp_path / "jharnet.yaml")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: no hub answers at http://127.0.0.1:1")
    assert done.stderr.count("\n") == 1
