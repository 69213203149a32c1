"""The process that is killed: it sends a hub's weekly mails to the server of a fault run.

python -m tests.faults.mail_subject DIRECTORY TLS_DIRECTORY PORT PLACE NTH
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.mail.schedule import ReportScheduler
from jharnet_monitor.mail.weekly import weekly_mails
from tests.mail_support import MONDAY, MailHost, MailingHub

PLACES = {
    "before the mail is noted": ("prepare", "before"),
    "after the mail was noted": ("prepare", "after"),
    "before the attempt is noted": ("attempt", "before"),
    "after the attempt was noted": ("attempt", "after"),
    "between the 250 and the commit": ("accepted", "before"),
    "after the commit": ("accepted", "after"),
}
"""The points at which the process kills itself: before or after an entry in the log."""


def die() -> None:
    """Die as in a power cut: no handler runs, no buffer is written."""
    os.kill(os.getpid(), signal.SIGKILL)


def dying(call: Callable[..., Any], moment: str, nth: int) -> Callable[..., Any]:
    """Wrap a call: at its n-th time the process dies before or after it."""
    times = 0

    def wrapped(*arguments: Any, **named: Any) -> Any:
        nonlocal times
        times += 1
        if times == nth and moment == "before":
            die()
        result = call(*arguments, **named)
        if times == nth and moment == "after":
            die()
        return result

    return wrapped


def report_scheduler(directory: Path, host: MailHost, place: str) -> ReportScheduler:
    """The scheduler on a Monday; with the real report if the kill may come at any time."""
    hub = MailingHub(directory, host, clock=ManualClock(MONDAY + timedelta(minutes=1)))
    started = hub.start()
    if place == "anywhere":
        started._make = weekly_mails
    return started


async def work(hub: ReportScheduler) -> None:
    """Run until all mails are accepted."""
    while True:
        await hub.run_once(ignore_backoff=True)
        if not hub._store.mails.open():
            return


def main() -> None:
    """Run the command line."""
    directory, tls, port, place, nth = sys.argv[1:]
    hub = report_scheduler(Path(directory), MailHost(Path(tls), int(port)), place)
    if place in PLACES:
        entry, moment = PLACES[place]
        mails = hub._store.mails
        setattr(mails, entry, dying(getattr(mails, entry), moment, int(nth)))
    print("ready", flush=True)
    asyncio.run(work(hub))


if __name__ == "__main__":
    main()
