"""Orders of events that make alerting lie: the messages are compared with what was cut.

Real hubs, Prometheus and Alertmanager, with the shipped rules and routes and shorter times; a
minute is two seconds. A district is a hub with two offices. First come the orders that once went
wrong, then orders drawn at random: offices, the uplink and the hub fail and return in any order,
and Prometheus or Alertmanager restarts meanwhile. Every outage must be notified once, every
notification be resolved, nothing be resolved before its end, and nothing be swallowed.

sudo python -m tests.faults.alerts [--quick] [--json FILE] [--seed N]
"""

from __future__ import annotations

import contextlib
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from rich.console import Console

from tests.bench.marks import Row, arguments, at_most, finish, note, within
from tests.faults.alerts_stack import (
    OFFICES,
    OUTAGE_SECONDS,
    Alerting,
    District,
    Inbox,
    Message,
    enter_namespace,
)

AT_ONCE = 6
"""Districts that run side by side."""
RANDOM_ORDERS = 24
SEEN_SECONDS = OUTAGE_SECONDS + 10.0
"""An outage that could be seen for so long must be notified."""
SETTLED_SECONDS = 10.0
"""A return that could be seen for so long ends one outage; the next is another one."""
NOTICED_SECONDS = 10.0
"""What the uplink's return shows of the offices is known after so long."""
RESENT_SECONDS = 10.0
"""After a restart, until Prometheus has handed in again what Alertmanager did not hear."""
END_SECONDS = 25.0
"""After the last event, until all must be resolved; flapping takes longer."""
QUIET_SECONDS = 75.0
OF_THE_MACHINE = ("ClockWrong", "MonitorOverloaded", "DiskAlmostFull", "DiskFillsUp")
"""Alerts about the machine of the test, which are no part of it."""
WATCHED = ("OfficeUnreachable", "UplinkDown", "HubDown")


@dataclass(slots=True)
class Truth:
    """When one thing failed and returned, in monotonic seconds."""

    spans: list[list[float]] = field(default_factory=list)

    def begin(self) -> None:
        """It fails now."""
        self.spans.append([time.monotonic(), float("inf")])

    def end(self) -> None:
        """It returns now."""
        self.spans[-1][1] = time.monotonic()

    @property
    def on(self) -> bool:
        """Whether it has failed now."""
        return bool(self.spans) and self.spans[-1][1] == float("inf")


class Order:
    """One district and what happens in it."""

    def __init__(self, name: str, district: District, script: Callable[[Order], None]) -> None:
        self.name = name
        self.district = district
        self._script = script
        self.truth = {what: Truth() for what in (*OFFICES, "uplink", "hub")}
        self.planned = Truth()
        self.error: BaseException | None = None

    def run(self) -> None:
        """Play the script, then repair what is still broken."""
        try:
            self._script(self)
            for what, truth in self.truth.items():
                if truth.on:
                    self.mend(what)
        except BaseException as error:
            self.error = error

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)

    def fail(self, what: str, *, kill: bool = False) -> None:
        """An office or the uplink is cut, or the hub ends."""
        self.truth[what].begin()
        if what == "hub":
            self.district.hub.end(kill=kill)
        elif what == "uplink" or not self.truth["uplink"].on:
            cut = tuple(o for o in OFFICES if self.truth[o].on and o != what)
            self.district.cut(what, already=cut)

    def mend(self, what: str) -> None:
        """It returns."""
        if what == "hub":
            self.district.start()
        elif what == "uplink":
            cut = tuple(o for o in OFFICES if self.truth[o].on)
            self.district.restore("uplink", still_cut=cut)
        elif not self.truth["uplink"].on:
            self.district.restore(what)
        self.truth[what].end()

    def plan(self, office: str, seconds: float) -> None:
        """Announce work at an office."""
        self.planned.begin()
        self.district.plan(office, seconds)
        self.planned.spans[-1][1] = time.monotonic() + seconds


# --- the orders that once went wrong


def _plain(order: Order) -> None:
    order.fail("potka")
    order.wait(20)
    order.mend("potka")


def _uplink_after_office(seconds: float) -> Callable[[Order], None]:
    def script(order: Order) -> None:
        order.fail("potka")
        order.wait(18)
        order.fail("uplink")
        order.wait(seconds)
        order.mend("potka")
        order.mend("uplink")
        order.wait(22)
        order.fail("potka")  # the next outage is notified, too
        order.wait(18)

    return script


def _hub_dies(order: Order) -> None:
    order.fail("potka")
    order.wait(18)
    order.fail("hub", kill=True)
    order.wait(40)
    order.mend("hub")
    order.wait(22)


def _hub_restarts(order: Order) -> None:
    order.fail("potka")
    order.wait(18)
    for _ in range(2):
        order.fail("hub")
        order.mend("hub")
        order.wait(14)


def _back_while_the_hub_is_dead(order: Order) -> None:
    order.fail("potka")
    order.wait(18)
    order.fail("hub", kill=True)
    order.wait(5)
    order.mend("potka")
    order.wait(15)
    order.mend("hub")


def _flaps(order: Order) -> None:
    for _ in range(6):
        order.fail("boram")
        order.wait(3)
        order.mend("boram")
        order.wait(4)


def _planned(order: Order) -> None:
    order.plan("potka", 22)
    order.wait(2)
    order.fail("potka")
    order.wait(45)


def _both(order: Order) -> None:
    order.fail("potka")
    order.wait(14)
    order.fail("boram")
    order.wait(16)
    order.mend("potka")
    order.wait(14)
    order.fail("potka")
    order.wait(18)


def _uplink_alone(order: Order) -> None:
    order.fail("uplink")
    order.wait(30)


NAMED: dict[str, Callable[[Order], None]] = {
    "an office": _plain,
    "uplink for 4 minutes after an office": _uplink_after_office(8),
    "uplink for 18 minutes after an office": _uplink_after_office(37),
    "the hub dies": _hub_dies,
    "the hub restarts twice": _hub_restarts,
    "back while the hub is dead": _back_while_the_hub_is_dead,
    "flapping": _flaps,
    "planned work, then not back": _planned,
    "two offices, one twice": _both,
    "the uplink alone": _uplink_alone,
}


def drawn(rng: random.Random) -> Callable[[Order], None]:
    """Five to seven events at random, each a while after the one before."""
    events = [(rng.choice((*OFFICES, "uplink", "hub", *OFFICES)), rng.uniform(1, 20),
               rng.random() < 0.5) for _ in range(rng.randint(5, 7))]  # fmt: skip

    def script(order: Order) -> None:
        for what, seconds, kill in events:
            if order.truth[what].on:
                order.mend(what)
            else:
                order.fail(what, kill=kill)
            order.wait(seconds)

    return script


# --- judging


@dataclass(slots=True)
class Verdict:
    """The errors that were found, and the counts."""

    outages: int = 0
    notified: int = 0
    wrong: dict[str, list[str]] = field(default_factory=lambda: {
        key: [] for key in ("swallowed", "false", "not resolved", "resolved too early", "repeated")
    })  # fmt: skip
    slowest: float = 0.0
    """From the moment at which an outage had lasted long enough to the message, in seconds."""
    incomplete: list[str] = field(default_factory=list)

    def add(self, kind: str, what: str) -> None:
        """Note an error."""
        self.wrong[kind].append(what)


def episodes(
    messages: list[Message], receiver: str, key: tuple[str, str, str]
) -> list[list[float]]:
    """The messages about one alert to one receiver: when it began and ended."""
    found: list[list[float]] = []
    for message in messages:
        if message.receiver != receiver:
            continue
        for name, district, office, _, status in message.alerts:
            if (name, district, office) != key:
                continue
            if status == "firing" and (not found or found[-1][1] < float("inf")):
                found.append([message.at, float("inf")])
            elif status == "resolved" and found and found[-1][1] == float("inf"):
                found[-1][1] = message.at
    return found


def unseen(order: Order, blind: list[list[float]], what: str) -> list[list[float]]:
    """The times in which the state of a thing could not be known."""
    hidden = [*blind, *([s[0], s[1] + 4.0] for s in order.truth["hub"].spans)]
    if what in OFFICES:
        hidden += [[s[0] - 1.0, s[1] + NOTICED_SECONDS] for s in order.truth["uplink"].spans]
        hidden += order.planned.spans
    return hidden


def seen(begin: float, end: float, hidden: list[list[float]]) -> float:
    """The longest unbroken time within [begin, end] in which it could be observed."""
    edges = sorted({begin, end, *(x for span in hidden for x in span if begin < x < end)})
    longest = since = 0.0
    for left, right in pairwise(edges):
        middle = (left + right) / 2
        if any(span[0] <= middle < span[1] for span in hidden):
            since = 0.0
        else:
            since += right - left
            longest = max(longest, since)
    return longest


def judge(order: Order, inbox: Inbox, blind: list[list[float]], verdict: Verdict) -> None:
    """Compare the messages about one district with what happened in it."""
    names = {**dict.fromkeys(OFFICES, "OfficeUnreachable"), "uplink": "UplinkDown",
             "hub": "HubDown"}  # fmt: skip
    for what, name in names.items():
        hidden = blind if what == "hub" else unseen(order, blind, what)
        key = (name, order.district.id, what if what in OFFICES else "")
        reported = episodes(inbox.messages, "sms", key)
        _match(f"{order.name}: {name} {what}", order.truth[what], hidden, reported, verdict)
    allowed = set(names.values()) | {"OfficeLineWasDown", "OfficePowerWasDown", "OfficeFlapping"}
    flapped = [o for o in OFFICES if len(order.truth[o].spans) >= 3]
    for message in inbox.messages:
        for name, district, office, _, status in message.alerts:
            if district != order.district.id or status != "firing" or name in OF_THE_MACHINE:
                continue
            if name not in allowed or (name == "OfficeFlapping" and office not in flapped):
                verdict.add("false", f"{order.name}: {name} {office}")
    for office in OFFICES:
        flapping = episodes(inbox.messages, "network",
                            ("OfficeFlapping", order.district.id, office))  # fmt: skip
        if order.name == "flapping" and office == "boram" and len(flapping) != 1:
            verdict.add("swallowed", f"{order.name}: OfficeFlapping x {len(flapping)}")
        if any(end == float("inf") for _, end in flapping):
            verdict.add("not resolved", f"{order.name}: OfficeFlapping {office}")


def _match(
    what: str,
    truth: Truth,
    hidden: list[list[float]],
    reported: list[list[float]],
    verdict: Verdict,
) -> None:
    """Each episode belongs to one outage that was long enough, and ends after it."""
    left = [list(span) for span in reported]
    spans = truth.spans
    for number, (begin, end) in enumerate(spans):
        verdict.outages += 1
        after = spans[number + 1][0] if number + 1 < len(spans) else float("inf")
        mine = [t for t in left if begin <= t[0] < min(after, end + 8)]
        must = seen(begin, end, hidden) >= SEEN_SECONDS
        # one message may tell of two outages if the return between them could not be seen
        going_on = [t for t in reported if t[0] < begin < t[1]]
        settled = number == 0 or seen(spans[number - 1][1], begin, hidden) >= SETTLED_SECONDS
        if must and not mine and (settled or not going_on):
            verdict.add("swallowed", f"{what}, {end - begin:.1f} s long")
        if len(mine) > 1:
            verdict.add("repeated", what)
        for one in mine:
            left.remove(one)
            verdict.notified += 1
            if seen(begin, end, hidden) == end - begin:
                verdict.slowest = max(verdict.slowest, one[0] - begin - OUTAGE_SECONDS)
            if end - begin < OUTAGE_SECONDS / 2:
                verdict.add("false", what)
            if one[1] == float("inf"):
                verdict.add("not resolved", what)
            elif one[1] < end:
                verdict.add("resolved too early", f"{what}, {end - one[1]:.1f} s before its end")
    for one in left:
        verdict.add("false", f"{what} at {one[0] - spans[0][0] if spans else 0:.1f} s")


def judge_messages(inbox: Inbox, verdict: Verdict) -> None:
    """No message repeats the one before; each says since when, what to do, and where to look."""
    last: dict[tuple[str, str], frozenset[tuple[str, str]]] = {}
    for message in inbox.messages:
        if message.receiver == "heartbeat":
            continue
        here = frozenset((one[3], one[4]) for one in message.alerts)
        key = (message.receiver, message.group)
        if last.get(key) == here:
            verdict.add("repeated", f"the same message to {message.receiver}")
        last[key] = here
        for alert, notes in zip(message.alerts, message.annotations, strict=True):
            needed = ["summary", "summary_hi", "action", "action_hi", "runbook_url", "page_url"]
            if alert[0] in WATCHED:
                needed.append("since")
            missing = [key for key in needed if not notes.get(key)]
            wrong = [k for k in ("runbook_url", "page_url") if "://" not in notes.get(k, "")]
            if alert[1] and (missing or wrong):
                verdict.incomplete.append(f"{alert[4]} {alert[0]} lacks {missing or wrong}")


# --- running


def wave(orders: list[Order], alerting: Alerting, inbox: Inbox, rng: random.Random,
         verdict: Verdict) -> None:  # fmt: skip
    """Run some orders side by side, with one fault of the alerting itself meanwhile."""
    threads = [threading.Thread(target=order.run) for order in orders]
    blind: list[list[float]] = []
    for thread in threads:
        thread.start()
    time.sleep(rng.uniform(5, 40))
    what = rng.choice(("prometheus", "alertmanager", "rules"))
    begin = time.monotonic()
    if what == "rules":
        alerting.change_a_text()
    else:
        process = getattr(alerting, what)
        process.end()
        time.sleep(rng.uniform(1, 6))
        process.start()
    blind.append([begin, time.monotonic() + RESENT_SECONDS])
    for thread in threads:
        thread.join()
    time.sleep(END_SECONDS)
    deadline = time.monotonic() + QUIET_SECONDS
    while time.monotonic() < deadline and _open(inbox, orders):
        time.sleep(1)
    for order in orders:
        if order.error is not None:
            raise order.error
        judge(order, inbox, blind, verdict)


@contextlib.contextmanager
def alerting_for(alerting: Alerting, orders: list[Order]) -> Iterator[Alerting]:
    """The hubs of some districts with Prometheus and Alertmanager; all end with the block."""
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda order: order.district.start(), orders))
        alerting.alertmanager.start()
        alerting.prometheus.start()
        time.sleep(5)
        yield alerting
    finally:
        alerting.prometheus.end()
        alerting.alertmanager.end()
        for order in orders:
            order.district.hub.end(kill=True)


def _open(inbox: Inbox, orders: list[Order]) -> bool:
    """Whether an alert that was sent is not resolved yet."""
    ids = {order.district.id for order in orders}
    state: dict[tuple[str, str], str] = {}
    for message in inbox.messages:
        for name, district, _, mark, status in message.alerts:
            lasting = name.endswith("WasDown") or name in OF_THE_MACHINE
            if district in ids and not lasting:
                state[message.receiver, mark] = status
    return "firing" in state.values()


def main() -> int:
    """Run all orders and print the results."""
    options = arguments(__doc__)
    enter_namespace()
    console = Console()
    rng = random.Random(options.seed)
    scripts = dict(NAMED)
    count = 0 if options.quick else RANDOM_ORDERS
    scripts |= {f"order {n + 1} at random": drawn(rng) for n in range(count)}
    if options.quick:
        scripts = {name: scripts[name] for name in ("the hub restarts twice",)}
    directory = Path(tempfile.mkdtemp(prefix="jharnet-alerts-"))
    inbox, verdict = Inbox(), Verdict()
    districts = [District(n, directory) for n in range(len(scripts))]
    orders = [
        Order(name, district, script)
        for district, (name, script) in zip(districts, scripts.items(), strict=True)
    ]
    with inbox.receiving() as receiver_url:
        for first in range(0, len(orders), AT_ONCE):
            these = orders[first : first + AT_ONCE]
            console.print(", ".join(order.name for order in these), "…")
            here = directory / f"alerting-{first}"
            here.mkdir()
            with alerting_for(
                Alerting(here, [o.district for o in these], receiver_url), these
            ) as alerting:
                wave(these, alerting, inbox, rng, verdict)
    shutil.rmtree(directory)
    judge_messages(inbox, verdict)
    for kind, cases in verdict.wrong.items():
        for one in cases:
            console.print(f"  {kind}: {one}")
    console.print(*sorted(set(verdict.incomplete)), sep="\n")
    return finish("Alerts against what happened", _rows(len(orders), verdict), options)


def _rows(orders: int, verdict: Verdict) -> list[Row]:
    return [
        note("orders of events", orders, "orders"),
        note("outages of offices, uplinks and hubs", verdict.outages, "outages"),
        within("of which notified", verdict.notified, 1, verdict.outages, "outages"),
        *(at_most(f"{kind}", len(cases), 0, "alerts") for kind, cases in verdict.wrong.items()),
        at_most("messages that lack since, action or address", len(verdict.incomplete), 0,
                "messages"),
        note("slowest notification", verdict.slowest, "s"),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
