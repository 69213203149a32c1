"""Kills the process that mails the weekly report at every critical point, many times.

A real SMTP server (TLS, authentication) counts what it accepted. It must have accepted the report
for each recipient, with one Message-ID, and a second time only if the process died between the
server's 250 and the commit.

python -m tests.faults.mail [--quick] [--json FILE] [--seed N]
"""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.model import format_utc
from jharnet_monitor.store import Store
from jharnet_monitor.store.mails import MailState
from tests.bench.marks import Row, arguments, at_most, finish, note, within
from tests.faults.mail_subject import PLACES
from tests.mail_support import MONDAY, MailHost, MailingHub

AT_SERVER = ("at RCPT", "at the end of the message, before the 250")
"""The points of the SMTP dialogue at which the server kills the process."""
KINDS = (*PLACES, *AT_SERVER, "anywhere", "between the 250 and the commit")
"""Each run dies at one of these; the gap after the 250 is drawn twice as often."""
CHANCES = {"prepare": 2, "attempt": 1, "accepted": 3}
"""How often one process writes each entry: two mails in one attempt, three recipients."""
LONGEST_SECONDS = 110.0
ANYWHERE_SECONDS = 0.6
"""About the time in which a process makes and sends a real report of an empty week."""


@dataclass(slots=True)
class Tally:
    """The results of all runs."""

    runs: int = 0
    deaths: Counter[str] = field(default_factory=Counter)
    missed: int = 0
    second_identities: int = 0
    repeats: int = 0
    unowed: int = 0
    """Repeated or missing mails beyond those that a death in the gap explains."""


@dataclass(slots=True)
class Run:
    """One week of one hub, whose process is killed once or twice."""

    directory: Path
    host: MailHost
    dice: random.Random
    kind: str
    tally: Tally
    kills: int = 2
    """How often the process is killed at most."""
    process: subprocess.Popen[str] | None = None
    may_repeat: Counter[tuple[str, str]] = field(default_factory=Counter)

    def go(self) -> None:
        """Start and kill the process until all is accepted; then count what the server has."""
        self.directory.mkdir()
        self.host.inbox.clear()
        store = self._store()
        store.migrate()
        store.set_value("reports_since", format_utc(MONDAY - timedelta(days=3)))
        store.close()
        again = [self.dice.choice(KINDS) for _ in range(self.kills - 1)]
        done = any(self._live(kind) for kind in (self.kind, *again, "nowhere"))
        self._count(done)

    def _live(self, kind: str) -> bool:
        """Run the process until it is killed, or done (then True)."""
        entry = PLACES.get(kind, ("accepted", ""))[0]
        nth = self.dice.randint(1, CHANCES[entry])
        command = [sys.executable, "-m", "tests.faults.mail_subject", str(self.directory),
                   str(self.host.directory), str(self.host.port), kind, str(nth)]  # fmt: skip
        self._arm(kind, nth)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as self.process:
            assert self.process.stdout is not None
            self.process.stdout.readline()
            if kind == "anywhere":
                time.sleep(self.dice.uniform(0, ANYWHERE_SECONDS))
                self._kill()
            code = self.process.wait(LONGEST_SECONDS)
        self.host.on_recipient = self.host.on_message = lambda recipient: "250 OK"
        if code == -signal.SIGKILL:
            self.tally.deaths[kind] += 1
            self._note_the_gap()
        elif code:
            raise RuntimeError(f"the process ended with {code} ({kind})")
        return code == 0

    def _arm(self, kind: str, nth: int) -> None:
        """Let the server kill the process at its n-th chance, if this run dies there."""
        chances = iter(range(1, 100))

        def answer(recipient: str) -> str:
            if next(chances) < nth:
                return "250 OK"
            self._kill()
            return "451 not taken"

        if kind == AT_SERVER[0]:
            self.host.on_recipient = answer
        elif kind == AT_SERVER[1]:
            self.host.on_message = answer

    def _kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)

    def _note_the_gap(self) -> None:
        """Recipients with a 250 that is not in the log: they may get the mail again."""
        time.sleep(0.05)  # the server's thread may be receiving a message now
        store = self._store()
        mails = store.mails.open()
        store.close()
        taken = self._taken()
        for one in mails:
            if taken[one.message_id, one.recipient] > self.may_repeat[one.message_id,
                                                                      one.recipient]:  # fmt: skip
                self.may_repeat[one.message_id, one.recipient] += 1

    def _taken(self) -> Counter[tuple[str, str]]:
        return Counter((one.identity, one.recipient) for one in self.host.inbox)

    def _count(self, done: bool) -> None:
        store = self._store()
        mails = [*store.mails.of("weekly-2026-W47"), *store.mails.of("root-2026-W47")]
        store.close()
        taken, tally = self._taken(), self.tally
        tally.runs += 1
        wanted = {(one.message_id, one.recipient) for one in mails}
        identities = {one.name: one.message_id for one in mails}
        tally.second_identities += len({identity for identity, _ in taken}) - len(identities)
        tally.missed += not done
        tally.missed += sum(one.state is not MailState.ACCEPTED for one in mails)
        tally.missed += sum(not taken[key] for key in wanted) + (not mails)
        for key, copies in taken.items():
            tally.repeats += copies - 1
            tally.unowed += copies - 1 != self.may_repeat[key]

    def _store(self) -> Store:
        hub = MailingHub(self.directory, self.host)
        return Store(hub.config().hub.database, ManualClock(MONDAY))


def rows(tally: Tally, runs: int) -> list[Row]:
    """The rows: the results and their marks."""
    exact = tally.deaths["between the 250 and the commit"]
    return [
        within("runs", tally.runs, runs, runs, ""),
        within("kill -9", tally.deaths.total(), runs, 3 * runs, ""),
        within("of these exactly between the 250 and the commit", exact, runs / 10, 3 * runs, ""),
        at_most("mails missed", tally.missed, 0, ""),
        at_most("second Message-IDs", tally.second_identities, 0, ""),
        at_most("repeats that no death in the gap explains", tally.unowed, 0, ""),
        note("repeats after a death in the gap", tally.repeats, ""),
        *(note(f"killed {kind}", count, "") for kind, count in sorted(tally.deaths.items())),
    ]


def main() -> int:
    """Run it; returns 0 if all marks are met."""
    options = arguments(__doc__)
    logging.getLogger("mail.log").setLevel(logging.ERROR)  # aiosmtpd's own log
    dice, tally = random.Random(options.seed), Tally()
    runs = 10 if options.quick else 50
    with tempfile.TemporaryDirectory(prefix="jhn-mail-") as directory:
        host = MailHost(Path(directory) / "tls")
        host.directory.mkdir()
        host.start()
        try:
            for number in range(runs):
                kind = KINDS[number % len(KINDS)]
                kills = dice.choice((1, 1, 2))
                Run(Path(directory) / str(number), host, dice, kind, tally, kills).go()
        finally:
            host.stop()
    return finish("Weekly mails through kill -9", rows(tally, runs), options)


if __name__ == "__main__":
    sys.exit(main())
