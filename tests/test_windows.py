"""What of the agent can be shown without Windows: it loads and works without what only Linux has.

`tests/bench/windows.py` runs the whole agent by Wine; nothing was run on Windows itself.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[1]
SERVICE, INSTALL = ROOT / ".ci/windows/jharnet-agent.xml", ROOT / ".ci/windows/install.cmd"

MASK = """
import asyncio, os, select, signal, socket, sys, pathlib
import aiohttp, aiortc, psutil, pydantic, typer, yaml    # they have wheels for Windows
for module in ("fcntl", "termios", "pwd", "grp", "resource", "tty", "pty", "syslog", "posix"):
    sys.modules[module] = None                                    # an import of it fails
for module, names in {
    os: ("geteuid", "getuid", "fork", "nice", "O_DIRECTORY", "fchown", "chown", "statvfs", "uname",
         "sysconf", "sync"),
    signal: ("SIGHUP", "SIGKILL", "SIGUSR1", "pthread_sigmask"),
    socket: ("TCP_INFO", "AF_UNIX", "AF_NETLINK", "AF_PACKET", "SCM_RIGHTS", "CMSG_SPACE",
             "CMSG_LEN", "MSG_ERRQUEUE", "MSG_TRUNC", "SO_REUSEPORT", "TCP_CONGESTION",
             "IP_RECVERR", "MSG_DONTWAIT"),
    select: ("poll", "epoll"),
}.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
"""
WORKS = """
import json
from pathlib import Path
import jharnet_monitor.commands.agent
from jharnet_monitor.agent import machine
from jharnet_monitor.probes.agent_tasks import AGENT_TASKS, load_agent_tasks
load_agent_tasks()
nowhere = Path("/nonexistent")
machine._KERNEL_BOOT_ID = machine._KERNEL_UPTIME = machine._KERNEL_ROUTES = nowhere
from jharnet_monitor.agent.versions import Versions
versions = Versions(Path(sys.argv[1]) / "updates", "0.1.0")
versions.save(versions.refusal("0.2.0", 1, "it is only tried", "offer"))
from jharnet_monitor.agent import enrolment
from jharnet_monitor.agent.daemon import Agent
from jharnet_monitor.commands.agent import _agent_settings
place = Path(sys.argv[1]) / "office"
token = enrolment._own_token(place)
(place / "token").chmod(0o666)                                    # as Windows shows every file
assert enrolment._own_token(place) == token
given = {"hub": "ws://127.0.0.1:1/agent", "office": "potka", "token_file": place / "token",
         "spool": place / "spool", "release_key": "A" * 43 + "="}
settings = _agent_settings(given, None)
assert settings.token == token and Agent._make_updater(None, settings) is None
print(json.dumps({
    "tasks": sorted(AGENT_TASKS), "uptime": machine.uptime() > 0, "boot": machine.boot_id(),
    "gateway": machine.default_gateway(), "report": versions.last().to_report(),
}))
"""


STOPPED = """
import asyncio, signal, sys
from jharnet_monitor.commands.process import until_signal
async def run():
    def handles_none(*_):
        raise NotImplementedError
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler = handles_none
    loop.call_later(0.1, signal.raise_signal, getattr(signal, sys.argv[1]))
    async def until_stopped():
        await asyncio.wait_for(stopped.wait(), 110)
        print("stopped", flush=True)                                 # the process ends soon after
    await until_signal(until_stopped, stopped.set)
asyncio.run(run())
"""


def _masked(code: str, *arguments: str) -> str:
    return _output(MASK + code, *arguments)


def _output(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True,
        check=False, cwd=ROOT, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_agent_loads_without_what_only_linux_has(tmp_path: Path) -> None:
    """Every module of the agent's process, its probes' halves, and what the machine tells; its
    token of an enrolment; it offers no updates, which replace a process by another."""
    found = json.loads(_masked(WORKS, str(tmp_path)))
    assert {"bandwidth", "conference", "service"} <= set(found["tasks"])
    assert found["uptime"] and found["boot"].startswith("booted-") and found["gateway"] is None
    assert found["report"]["state"] == "refused"


def test_only_known_places_need_linux_in_a_call() -> None:
    """The task's process of a call: what it loads beside the agent's own."""
    code = "import jharnet_monitor.commands.agent_task, jharnet_monitor.rtc.call\nprint('loaded')"
    assert _masked(code).endswith("loaded\n")


def test_the_service_is_what_winsw_2_reads() -> None:
    """Without an account that it knows it takes LocalSystem, which may do everything; and its logs
    must lie where LocalService may write, else it ends. `stop` would not wait for the programs
    whose files are replaced.
    """
    service = ElementTree.parse(SERVICE).getroot()  # noqa: S314 - our own file
    account = [(part.tag, part.text) for part in service.findall("serviceaccount/*")]
    assert account == [("domain", "NT AUTHORITY"), ("user", "LocalService")]
    assert service.findtext("logpath") == service.findtext("workingdirectory")
    commands = INSTALL.read_text("utf-8")
    assert "jharnet-agent.exe stopwait" in commands and "jharnet-agent.exe stop " not in commands


def test_the_token_is_protected_before_it_is_made() -> None:
    """From whoever made the directory before, too; and the PC's shutdown ends the agent."""
    lines = INSTALL.read_text("utf-8").splitlines()
    steps = ["islink", r'mkdir "%data%\spool"', "/setowner", "/reset", "/inheritance:r", "--no-run",
             "HiberbootEnabled", "jharnet-agent.exe start"]  # fmt: skip
    places = [next(n for n, line in enumerate(lines) if step in line) for step in steps]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("version", "platform", "prefix", "fits"),
    [
        ((3, 13, 5), "win-amd64", r"C:\Program Files\Python313", True),
        ((3, 14, 0), "win-amd64", r"C:\Program Files\Python314", False),
        ((3, 12, 9), "win-amd64", r"C:\Program Files\Python312", False),
        ((3, 13, 5), "win32", r"C:\Program Files (x86)\Python313-32", False),
        ((3, 13, 5), "win-amd64", r"c:\users\ram\AppData\Local\Programs\Python\Python313", False),
    ],
)
def test_the_installation_takes_the_python_that_the_msi_has_wheels_for(
    version: tuple[int, ...], platform: str, prefix: str, fits: bool
) -> None:
    """And which LocalService can read."""
    found = re.search(r'%PYTHON% -c "(.*)"$', INSTALL.read_text("utf-8"), re.MULTILINE)
    assert found is not None
    stage = (
        "import os, sys, sysconfig\n"
        f"sys.version_info, sys.base_prefix = {version!r}, {prefix!r}\n"
        f"sysconfig.get_platform = lambda: {platform!r}\n"
        r"os.environ['USERPROFILE'] = r'C:\Users\ram'"
    )
    done = subprocess.run([sys.executable, "-c", f"{stage}\n{found[1]}"], check=False)
    assert done.returncode == (0 if fits else 1)
    assert "set -- 3.13 " in (ROOT / ".ci/windows/build").read_text("utf-8")


def _is_refused(data: Path, junctions: set[Path]) -> bool:
    """Whether the installation refuses this directory of the service's data."""
    found = re.search(r'%PYTHON% -c "(.*islink.*)"$', INSTALL.read_text("utf-8"), re.MULTILINE)
    assert found is not None
    stage = f"import os\nos.path.isjunction = lambda path: path in {[str(p) for p in junctions]}"
    done = subprocess.run(
        [sys.executable, "-c", f"{stage}\n{found[1]}"], check=False, capture_output=True,
        env={**os.environ, "data": str(data)},
    )  # fmt: skip
    assert done.returncode in (0, 1) and not done.stderr
    return done.returncode == 1


def test_a_link_in_the_place_of_the_data_is_refused(tmp_path: Path) -> None:
    """Its target would get other rights; also one that leads nowhere yet."""
    data = tmp_path / "data"
    assert not _is_refused(data, set())
    (data / "spool").mkdir(parents=True)
    assert not _is_refused(data, set())
    assert _is_refused(data, {data}) and _is_refused(data, {data / "spool"})
    (tmp_path / "link").symlink_to(data)
    assert _is_refused(tmp_path / "link", set())
    (data / "spool").rmdir()
    (data / "spool").symlink_to(tmp_path / "nowhere")
    assert _is_refused(data, set())


def test_an_installation_that_fails_starts_the_service_again() -> None:
    """It was stopped, and would otherwise measure nothing until the next start of the PC."""
    _, _, stopped = INSTALL.read_text("utf-8").partition("jharnet-agent.exe stopwait")
    work, _, failed = stopped.partition("\n:failed\n")
    assert "jharnet-agent.exe start\n" in failed and "exit /b 1" not in work
    assert work.count("|| goto failed") == 7


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_stops_a_loop_that_handles_none(name: str) -> None:
    """The loops of Windows handle no signals. There, SIGBREAK takes the place of SIGTERM."""
    assert _output(STOPPED, name) == "stopped\n"
