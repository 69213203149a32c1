"""Exit codes of `run`: systemd restarts the hub unless a person has to act."""

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
    """An address on which another program listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield f"127.0.0.1:{other.getsockname()[1]}"


def start(directory: Path, listen: str, database: str = "sqlite:///monitor.db") -> tuple[int, str]:
    """Start a hub that cannot run; returns exit code and last line."""
    file = directory / "jharnet.yaml"
    file.write_text(CONFIG.format(listen=listen, database=database), "utf-8")
    command = [sys.executable, "-m", "jharnet_monitor", "run", "--config", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
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


def test_a_missing_address_is_retried(tmp_path: Path) -> None:
    """If the VPN's interface is not up yet, the hub exits with 1 and systemd restarts it."""
    code, message = start(tmp_path, "203.0.113.7:9797")
    assert (code, restarts_after(code)) == (1, True)
    assert message.startswith("error: ") and "cannot listen on 203.0.113.7:9797" in message


def test_an_address_in_use_is_retried(tmp_path: Path, taken: str) -> None:
    """The previous hub may not have ended yet."""
    code, message = start(tmp_path, taken)
    assert (code, restarts_after(code)) == (1, True)
    assert "is another hub running" in message


def test_a_wrong_configuration_is_not_retried(tmp_path: Path) -> None:
    """The hub exits with 2; a restart would not help."""
    code, message = start(tmp_path, "nonsense")
    assert (code, restarts_after(code)) == (2, False)
    assert "jharnet.yaml:3: hub.listen:" in message


def test_commands_exit_with_1_if_the_hub_does_not_answer(tmp_path: Path) -> None:
    """A hub that does not answer is a temporary error."""
    (tmp_path / "jharnet.yaml").write_text(
        CONFIG.format(listen="127.0.0.1:1", database="sqlite:///monitor.db"), "utf-8"
    )
    command = [sys.executable, "-m", "jharnet_monitor", "reload", "--config"]
    done = subprocess.run(
        [*command, str(tmp_path / "jharnet.yaml")],
        capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: no hub answers at http://127.0.0.1:1")
    assert done.stderr.count("\n") == 1
