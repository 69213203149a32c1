"""A terminal that is closed ends what runs in it in order, with everything removed."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

UNTIL_STOPPED = """
import asyncio, signal, sys
from jharnet_monitor.commands.process import until_signal
ignored = sys.argv[1] == "ignored"  # tests that run under nohup pass the ignored signal on
signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
async def run():
    stopped, reloaded = asyncio.Event(), asyncio.Event()
    async def main():
        asyncio.get_running_loop().call_later(0.1, signal.raise_signal, signal.SIGHUP)
        done, _ = await asyncio.wait(
            [asyncio.ensure_future(stopped.wait()), asyncio.ensure_future(reloaded.wait())],
            timeout=3, return_when=asyncio.FIRST_COMPLETED)
        print("stopped" if stopped.is_set() else "reloaded" if reloaded.is_set() else "ran on",
              flush=True)
    await until_signal(main, stopped.set, reloaded.set if sys.argv[1] == "reload" else None)
asyncio.run(run())
"""

DEMO = """
import signal, sys, time
from pathlib import Path
from jharnet_monitor.commands.demo import end_in_order
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup around the tests ignores it
end_in_order()
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("clearing up", flush=True)
    signal.raise_signal(signal.SIGHUP)  # as the shell sends it after the terminal
    Path(sys.argv[1]).write_text("cleared up")
"""


def _until_stopped(case: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", UNTIL_STOPPED, case], capture_output=True, text=True,
        check=False, cwd=ROOT, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def test_a_closed_terminal_stops_a_program_that_does_not_reload() -> None:
    """The agent and the state's receiver end; the hub, which has a reload, goes on."""
    assert _until_stopped("stop") == "stopped"
    assert _until_stopped("reload") == "reloaded"


def test_a_program_under_nohup_goes_on() -> None:
    """Where SIGHUP is ignored from the start, it stays ignored."""
    assert _until_stopped("ignored") == "ran on"


def test_the_demo_clears_up_although_its_terminal_is_closed(tmp_path: Path) -> None:
    """A line written to the closed terminal is dropped, and does not cut the clearing up short."""
    proof = tmp_path / "proof"
    ours, theirs = pty.openpty()
    demo = subprocess.Popen(
        [sys.executable, "-c", DEMO, str(proof)], stdout=theirs, stderr=theirs, cwd=ROOT
    )
    os.close(theirs)
    try:
        assert b"ready" in os.read(ours, 100)
        os.close(ours)
        demo.send_signal(signal.SIGHUP)
        assert demo.wait(30) == 0
    finally:
        demo.kill()
        demo.wait()
    assert proof.read_text() == "cleared up"
