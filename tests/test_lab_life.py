"""The start and the end of a lab, its control socket and its commands."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from jharnet_monitor.commands.lab import app
from jharnet_monitor.errors import UserError
from jharnet_monitor.lab import Lab, take_down
from jharnet_monitor.lab.layout import run_directory
from jharnet_monitor.lab.namespaces import list_namespaces, processes_in
from tests.lab_support import needs_lab, wait_until

pytestmark = [pytest.mark.root, needs_lab]

SPEC: dict[str, Any] = {"offices": {"potka": {}, "boram": {}}}


def remains(prefix: str) -> list[str]:
    """The namespaces and the directory of a lab."""
    directory = run_directory(prefix)
    return list_namespaces(prefix) + ([str(directory)] if directory.exists() else [])


def test_down_leaves_nothing() -> None:
    """Namespaces, processes and files are removed, with programs that still run inside."""
    with Lab.start(SPEC, "jhntd") as lab:
        program = lab.popen("potka", ["sleep", "60"])
        assert processes_in([lab.namespace("potka")]) == [program.pid]
        with pytest.raises(UserError, match="is running"):
            Lab.start(SPEC, "jhntd")
    assert program.wait(5) == -signal.SIGKILL
    assert remains("jhntd") == []
    with pytest.raises(UserError, match="lab up"):
        Lab("jhntd")


def test_lab_ends_with_its_starter() -> None:
    """The lab of a killed test or demo ends."""
    code = (
        "import time; from jharnet_monitor.lab import Lab; "
        "Lab.start({'offices': {'potka': {}}}, 'jhnts'); print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == b"up\n"
        assert remains("jhnts")
        starter.kill()
    wait_until(lambda: remains("jhnts") == [])


def test_lab_ends_with_its_emulator() -> None:
    """If the emulator is killed, the daemon removes the rest."""
    lab = Lab.start(SPEC, "jhnte")
    os.kill(lab.status()["emulator_pid"], signal.SIGKILL)
    wait_until(lambda: remains("jhnte") == [])
    with pytest.raises(UserError, match="ended"):
        lab.status()
    lab.down()


def test_control_socket_rejects_invalid_requests() -> None:
    """Only root may open the socket, and invalid requests are answered with an error."""
    requests = [
        *(b"nonsense", b"[]", b"{}", b'{"do": []}', b'{"do": "stopping"}', b'{"do": "set"}'),
        *(
            b'{"do": "cut", "where": 7, "what": "link"}',
            b'{"do": "cut", "where": "potka", "what": 7}',
        ),
        *(b'{"do": "flows", "start": "x"}', b'{"do": "set", "where": "potka", "setting": 7}'),
    ]
    with Lab.start(SPEC, "jhntn") as lab, socket.socket(socket.AF_UNIX) as client:
        assert lab.layout.control_socket.stat().st_mode & 0o777 == 0o600
        client.connect(str(lab.layout.control_socket))
        answers = client.makefile("rb")
        for request in requests:
            client.sendall(request + b"\n")
            assert "error" in json.loads(answers.readline()), request
        client.sendall(b"x" * 200_000)  # a line that is too long ends the connection
        with contextlib.suppress(ConnectionError):
            assert answers.readline() == b""
        assert lab.status()["links"]["potka"]["cuts"] == []


def test_down_finds_leftovers_after_kill() -> None:
    """After SIGKILL of the daemon, `down` removes the namespaces and the programs in them."""
    lab = Lab.start(SPEC, "jhntk", detached=True)
    program = lab.popen("potka", ["sleep", "60"])
    emulator = lab.status()["emulator_pid"]
    os.kill(int((run_directory("jhntk") / "lock").read_text()), signal.SIGKILL)
    wait_until(lambda: _gone(emulator))
    assert remains("jhntk")
    assert len(take_down("jhntk")) == 2 * len(SPEC["offices"]) + 2
    assert program.wait(5) == -signal.SIGKILL
    assert remains("jhntk") == []
    assert take_down("jhntk") == []


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_commands(tmp_path: Path) -> None:
    """The commands up, set, cut, status, exec, restore and down, and their exit codes."""
    run = CliRunner().invoke
    path, prefix = tmp_path / "lab.yaml", ["--prefix", "jhntc"]
    path.write_text("offices: {potka: {down: {delay: 1ms}}}")
    up = run(app, ["up", str(path), "--seed", "5", *prefix])
    assert up.exit_code == 0, up.output
    assert "10.8.1.10" in up.output
    assert "seed 5" in up.output
    try:
        assert (
            run(app, ["set", "potka", "down.loss=2%", "up.rate=2 Mbit/s", *prefix]).exit_code == 0
        )
        assert run(app, ["cut", "potka", "lan", *prefix]).exit_code == 0
        assert "lan cut" in run(app, ["status", *prefix]).output
        truth = json.loads(run(app, ["status", "--json", *prefix]).output)
        assert truth["links"]["potka"]["down"]["settings"]["loss"]["mean"] == "2%"
        assert truth["links"]["potka"]["cuts"] == ["lan"]
        assert run(app, ["restore", "potka", "lan", *prefix]).exit_code == 0
        code = "from jharnet_monitor.commands.lab import app; app()"
        command = [sys.executable, "-c", code, "exec", "potka", *prefix, "--", "sh", "-c", "exit 7"]
        assert subprocess.run(command, check=False).returncode == 7
        with pytest.raises(UserError, match="no office `pokta`"):
            run(app, ["cut", "pokta", *prefix], catch_exceptions=False)
    finally:
        assert run(app, ["down", *prefix]).exit_code == 0
    assert remains("jhntc") == []
