"""The installer and the Debian package's script, run as root where their changes stay inside.

Each machine is this one's file system in namespaces of its own, with overlays where the installer
writes. The bundles hold a small program in place of the real one.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jharnet_monitor.handover.bundle import lock_of, signing_key
from jharnet_monitor.handover.release import sha256
from tests.update_support import ROOT, small_bundle, small_wheel

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

SAYS = "def main():\n    print('version {}')\n"
BROKEN = "def main():\n    raise SystemExit(9)\n"
PROGRAM = "/opt/jharnet-monitor/bin/jharnet-monitor"
LIB = "/usr/lib/jharnet-monitor"
LIB_PROGRAM = f"{LIB}/venv/bin/jharnet-monitor"
"""The program of Debian's package."""
STATE = "/var/lib/private/jharnet-agent"
UPDATES = "/var/lib/jharnet-agent/spool-updates"
USER = 61234
"""The agent's user, as systemd chooses one for `DynamicUser`."""
OVERLAYS = """
mount --make-rprivate /
for place in etc opt usr var; do
  mkdir -p "$1/$place/upper" "$1/$place/work"
  mount -t overlay overlay -o "lowerdir=/$place,upperdir=$1/$place/upper,workdir=$1/$place/work" \\
    "/$place" || exit 1
done
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system
echo ready
exec sleep 600
"""
SYSTEMCTL = """#!/bin/sh
echo "$@" >> /run/requests
[ "$1" != is-active ] || cat /run/state
"""


class Machine:
    """This machine in namespaces of its own; what `systemctl` shall do is in `/run/requests`."""

    def __init__(self, upper: Path) -> None:
        self._keeper = subprocess.Popen(
            ["unshare", "-m", "-n", "sh", "-c", OVERLAYS, "sh", str(upper)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._keeper.stdout is not None
        if self._keeper.stdout.readline() != "ready\n":
            pytest.skip(f"no overlays here: {self._keeper.communicate()[1]}")
        self.do(f"echo {shlex.quote(SYSTEMCTL)} > /usr/local/sbin/systemctl")
        self.do("chmod 755 /usr/local/sbin/systemctl; echo inactive > /run/state; > /run/requests")

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a shell command as root on it."""
        python = f"{sys.base_prefix}/bin"  # for which the bundles are made
        path = f"PATH=/usr/local/sbin:{python}:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        where = ["nsenter", "-t", str(self._keeper.pid), "-m", "-n"]
        return subprocess.run(
            [*where, "env", "-i", path, "sh", "-c", command],
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def do(self, command: str) -> str:
        """Run a command that must not fail; gives what it printed."""
        done = self.run(command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def close(self) -> None:
        """End the namespaces, and with them all mounts."""
        self._keeper.kill()
        self._keeper.communicate()


class Sticks:
    """Unpacked bundles."""

    def __init__(self, place: Path) -> None:
        self._place, self._serial = place, 0

    def install(self, version: str, program: str, role: str = "agent") -> str:
        """The command that installs a version with this program."""
        self._serial += 1
        bundle, fingerprint = small_bundle(self._place, version, self._serial, program)
        stick = self._place / f"stick-{self._serial}"
        with zipfile.ZipFile(bundle) as archive:
            archive.extractall(stick)
        return f"sh {stick}/install.sh {role} --fingerprint {fingerprint}"

    def add(self, name: str, text: str) -> None:
        """Add a file to the last bundle, and sign it again."""
        stick = self._place / f"stick-{self._serial}"
        (stick / name).write_text(text)
        sums = stick / "SHA256SUMS"
        sums.write_bytes(sums.read_bytes() + f"{sha256(text.encode())}  {name}\n".encode())
        signature = signing_key(self._place / "release.key").sign(sums.read_bytes())
        (stick / "SHA256SUMS.sig").write_bytes(signature)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine on which nothing is installed."""
    made = Machine(tmp_path / "machine")
    yield made
    made.close()


@pytest.fixture
def sticks(tmp_path: Path) -> Sticks:
    """A maker of bundles, all signed with one key."""
    return Sticks(tmp_path)


def test_the_services_user_can_start_what_root_installed(machine: Machine, sticks: Sticks) -> None:
    """Whatever umask root has."""
    machine.do(f"umask 077; {sticks.install('1', SAYS.format(1), 'hub')}")
    as_hub = "setpriv --reuid jharnet --regid jharnet --clear-groups"
    installed = "/opt/jharnet-monitor/lib/python*/site-packages/jharnet_monitor/small.py"
    look = shlex.quote(f"test -x {PROGRAM} && cat {installed}")
    assert machine.do(f"{as_hub} sh -c {look}") == SAYS.format(1)
    unit = "/etc/systemd/system/jharnet-monitor.service"
    assert machine.do(f"stat -c %a {unit} /etc/systemd/system").split() == ["644", "755"]


def test_a_program_that_does_not_start_replaces_nothing(machine: Machine, sticks: Sticks) -> None:
    """The version before stays, also one that a power cut left aside; a version that starts
    replaces it, and leaves nothing beside it."""
    machine.do(sticks.install("1", SAYS.format(1)))
    machine.do("mv /opt/jharnet-monitor /opt/jharnet-monitor.old")  # then the power was cut
    done = machine.run(sticks.install("2", BROKEN))
    assert done.returncode == 1 and "does not start" in done.stderr
    assert machine.do(PROGRAM) == "version 1\n"
    machine.do(sticks.install("3", SAYS.format(3)))
    assert machine.do(PROGRAM) == machine.do("jharnet-monitor") == "version 3\n"
    assert machine.do("ls -d /opt/jharnet*") == "/opt/jharnet-monitor\n"


def test_no_code_of_the_bundles_directory_is_imported(machine: Machine, sticks: Sticks) -> None:
    """Root's Python imports nothing from the directory in which the installer runs."""
    install = sticks.install("1", SAYS.format(1))
    for name in ("venv", "json", "pip"):
        sticks.add(f"{name}.py", "open('/run/imported', 'w')\nraise SystemExit(9)\n")
    machine.do(install)
    assert machine.run("ls /run/imported").returncode != 0
    assert machine.do(PROGRAM) == "version 1\n"


def _with_state(machine: Machine) -> None:
    """What systemd made for the agent's user, with an update that is active."""
    machine.do(
        f"install -d -m 700 /var/lib/private && mkdir -p {STATE}/spool-updates/versions/2-5 && "
        f"ln -s private/jharnet-agent /var/lib/jharnet-agent && "
        f"ln -s versions/2-5 {UPDATES}/current && chown -R {USER}:{USER} {STATE}"
    )


def test_an_agent_installed_by_hand_replaces_its_updates(machine: Machine, sticks: Sticks) -> None:
    """Even one of the same version; its wheels are there for the next update, and are owned by the
    agent's user. A link of that user is not followed by root."""
    _with_state(machine)
    install = sticks.install("2", SAYS.format(2))
    machine.do(install)
    assert machine.do(f"cd {UPDATES} && ls -A . wheels").split() == [
        ".:", "versions", "wheels", "wheels:", "jharnet_monitor-2-py3-none-any.whl",
    ]  # fmt: skip
    found = machine.do(f"stat -c '%u %a' {UPDATES}/wheels {UPDATES}/wheels/*")
    assert found == f"{USER} 700\n{USER} 600\n"
    for link in ("spool-updates/wheels", "spool-updates"):
        machine.do(f"rm -rf {STATE}/{link} /opt/roots && install -d -m 755 /opt/roots")
        machine.do(f"touch /opt/roots/current && ln -s /opt/roots {STATE}/{link}")
        done = machine.run(install)
        assert done.returncode == 1 and f"{link} is a link" in done.stderr, done.stderr
        found = machine.do("stat -c '%u %a %n' /opt/roots && ls -A /opt/roots")
        assert found == "0 755 /opt/roots\ncurrent\n"


def test_a_service_that_runs_is_restarted(machine: Machine, sticks: Sticks) -> None:
    """One that does not run is started only after its enrolment."""
    machine.do("touch /run/potka.enrolment")
    install = sticks.install("1", SAYS.format(1))
    for state, more, printed, wanted in (
        ("inactive", "", "installed. Next", []),
        ("active", "", "was restarted", ["restart jharnet-agent.service"]),
        ("active", " --enrolment /run/potka.enrolment", "installed and enrolled",
         ["enable --quiet jharnet-agent.service", "restart jharnet-agent.service"]),
    ):  # fmt: skip
        machine.do(f"echo {state} > /run/state; > /run/requests")
        assert printed in machine.do(install + more)
        lines = machine.do("cat /run/requests").splitlines()
        assert [x for x in lines if not x.startswith(("daemon-reload", "is-active"))] == wanted


@pytest.mark.parametrize(("first", "second"), [("hub", "agent"), ("agent", "hub")])
def test_hub_and_agent_are_not_installed_on_one_machine(
    machine: Machine, sticks: Sticks, first: str, second: str
) -> None:
    """The second one is refused, names the remedy, and changes nothing."""
    machine.do(sticks.install("1", SAYS.format(1), first))
    kept = machine.do(look := "find /opt /etc/systemd/system /var/lib/jharnet* -printf '%p %C@\n'")
    done = machine.run(install := sticks.install("2", SAYS.format(2), second))
    assert done.returncode == 1 and f"this machine has the {first}: install" in done.stderr
    assert machine.do(look) == kept and machine.do(PROGRAM) == "version 1\n"
    machine.do("sh /opt/jharnet-monitor/share/jharnet-monitor/uninstall.sh")
    machine.do(install)
    assert machine.do(PROGRAM) == "version 2\n"


def test_a_machine_with_the_package_is_left_alone(machine: Machine, sticks: Sticks) -> None:
    """Hub and agent of the bundle are refused beside Debian's package, whose removal is named."""
    machine.do("mkdir /usr/lib/jharnet-monitor")
    for role in ("hub", "agent"):
        done = machine.run(install := sticks.install("1", SAYS.format(1), role))
        assert done.returncode == 1 and "or remove it first (apt remove jharnet" in done.stderr
        assert machine.run("ls -d /opt/jharnet* /etc/systemd/system/jharnet*").stdout == ""
    machine.do("rmdir /usr/lib/jharnet-monitor")
    machine.do(install)
    assert machine.do(PROGRAM) == "version 1\n"


def test_the_package_refuses_a_machine_with_the_program(machine: Machine, sticks: Sticks) -> None:
    """The other unit would have precedence; what removes it is named."""
    script = ROOT / ".ci/debian/preinst"
    machine.do(f"sh {script} install")
    machine.do(f"mkdir {PROGRAM.removesuffix('/bin/jharnet-monitor')}")  # as a checkout's, by hand
    assert "rm -r /opt/jharnet-monitor /etc" in machine.run(f"sh {script} install").stderr
    machine.do(sticks.install("1", SAYS.format(1)))
    uninstall = "sh /opt/jharnet-monitor/share/jharnet-monitor/uninstall.sh"
    for action in ("install", "upgrade 1"):
        done = machine.run(f"sh {script} {action}")
        assert done.returncode == 1 and done.stderr.count("\n") == 1 and uninstall in done.stderr
    machine.do(uninstall)
    machine.do(f"sh {script} upgrade 1")


def _unpack(machine: Machine, place: Path, version: int, program: str | None = None) -> Path:
    """What dpkg unpacks before postinst, with a program; returns the wheel in the package."""
    wheel = small_wheel(place / f"wheels-{version}", str(version), program or SAYS.format(version))
    (place / "lock.txt").write_text(lock_of([wheel], {"jharnet-monitor"}))
    machine.do(f"mkdir -p {LIB} && rm -rf {LIB}/wheels && cp -r {wheel.parent} {LIB}/wheels")
    machine.do(f"cp {place}/lock.txt {ROOT}/.ci/debian/make-venv {ROOT}/config/jharnet.yaml {LIB}")
    return Path(LIB, "wheels", wheel.name)


@pytest.mark.parametrize("role", ["agent", "hub"])
def test_a_package_that_fails_leaves_the_program(
    machine: Machine, tmp_path: Path, role: str
) -> None:
    """A wheel that is damaged, a version that does not start, and a power cut before; the next
    version replaces it, and a removal leaves nothing."""
    machine.do("id jharnet || useradd --system --user-group jharnet")
    configure = f"sh {ROOT}/.ci/debian/jharnet-monitor-{role}.postinst configure"
    _unpack(machine, tmp_path, 1)
    machine.do(configure)
    assert machine.do(LIB_PROGRAM) == "version 1\n"
    wheel = _unpack(machine, tmp_path, 2)
    machine.do(f"echo damaged >> {wheel}; mv {LIB}/venv {LIB}/venv.old")  # then the power was cut
    done = machine.run(configure)
    assert done.returncode == 1 and "wheels do not fit" in done.stderr
    assert machine.do(LIB_PROGRAM) == "version 1\n"
    _unpack(machine, tmp_path, 3, BROKEN)
    done = machine.run(configure)
    assert done.returncode == 1 and "does not start" in done.stderr
    assert machine.do(LIB_PROGRAM) == "version 1\n"
    _unpack(machine, tmp_path, 4)
    machine.do(configure)
    assert machine.do(LIB_PROGRAM) == "version 4\n"
    assert machine.do(f"ls -d {LIB}/venv*") == f"{LIB}/venv\n"
    assert machine.run(f"grep -rIF venv.new {LIB}/venv/bin {LIB}/venv/pyvenv.cfg").stdout == ""
    machine.do(f"mkdir {LIB}/venv.new {LIB}/venv.old; sh {ROOT}/.ci/debian/prerm remove")
    assert machine.run(f"ls -d {LIB}/venv*").stdout == ""


def test_a_package_deletes_no_more_than_the_agent_may(machine: Machine, tmp_path: Path) -> None:
    """The agent's user can put links there at any time; what that user cannot delete stays, and
    the package is installed all the same."""
    _with_state(machine)
    machine.do(f"chown 0:0 {STATE}/spool-updates")
    _unpack(machine, tmp_path, 1)
    machine.do(f"sh {ROOT}/.ci/debian/jharnet-monitor-agent.postinst configure")
    assert machine.do(LIB_PROGRAM) == "version 1\n"
    assert machine.do(f"ls -A {UPDATES}").split() == ["current", "versions"]


def test_an_upgrade_of_the_package_restarts_what_runs(machine: Machine, tmp_path: Path) -> None:
    """And replaces all updates; a first installation starts nothing."""
    _with_state(machine)
    _unpack(machine, tmp_path, 2)
    script = ROOT / ".ci/debian/jharnet-monitor-agent.postinst"
    machine.do(f"sh {script} configure")
    assert machine.do("cat /run/requests") == ""
    assert machine.do(LIB_PROGRAM) == "version 2\n"
    assert machine.do(f"ls -A {UPDATES}") == "versions\n"
    machine.do(f"sh {script} configure 1")
    requests = machine.do("cat /run/requests").splitlines()
    assert requests == ["daemon-reload", "try-restart jharnet-agent.service"]
