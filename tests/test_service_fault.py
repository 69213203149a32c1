"""Where the fault of a slow or failed service lies: a table of cases, and two rules over all."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from jharnet_monitor.judge.services import (
    Evidence,
    FaultPlace,
    PageVisit,
    Surroundings,
    VisitFailure,
    fault_of,
)

SLOW = 5.0
G, B, U = Evidence.GOOD, Evidence.BAD, Evidence.UNKNOWN
NET, WAIT, ANS, CERT, PROXY = VisitFailure


def page(
    total: float = 0.5, *, dns: float = 0.02, trip: float = 0.03, wait: float = 0.1,
    transfer: float | None = None, size: float = 40_000, load: bool = False,
) -> PageVisit:  # fmt: skip
    """A page: `wait` is the server's, `transfer` what is left of the total unless given."""
    known = dns + trip + 2 * trip + trip + wait
    total = known + transfer if transfer is not None else max(total, known)
    return PageVisit(None, total, dns, trip, 2 * trip, trip + wait, size, load)


def failed(failure: VisitFailure = NET, *, load: bool = False) -> PageVisit:
    """A visit without a page."""
    return PageVisit(failure=failure, under_load=load)


FAST = page()
WAITS = page(wait=9.0, transfer=0.2)
"""The server takes 9 s."""
TRICKLES = page(transfer=9.0)
FAR = page(trip=2.0, transfer=1.0)
"""Handshakes take 8 s."""
NAMES = page(dns=8.0, transfer=0.1)
BOTH = page(wait=6.0, transfer=12.0)
MIXED = page(wait=4.0, transfer=4.0)
NONE, LINE, DOWN, SERVER, TWO, OFFICE, HUB, OWN, UNKNOWN = FaultPlace
Case = tuple[PageVisit | None, PageVisit | None, Surroundings, FaultPlace]


def around(
    line: Evidence = U, lan: Evidence = U, rate: float | None = None,
    office: tuple[int, int] = (0, 0), hub: tuple[int, int] = (0, 0),
) -> Surroundings:  # fmt: skip
    """What else is known."""
    return Surroundings(line, lan, rate, office, hub)


CASES: dict[str, Case] = {
    # nothing to blame
    "good at both": (FAST, FAST, around(G, G), NONE),
    "good at the office, slow at headquarters": (FAST, WAITS, around(), NONE),
    "good at the office, failed at headquarters": (FAST, failed(), around(), NONE),
    "good over a bad line": (FAST, FAST, around(B), NONE),
    "good and alone": (FAST, None, around(), NONE),
    "good beside a test of ours": (page(load=True), FAST, around(), NONE),
    "just as long as may be": (page(total=5.0), FAST, around(B), NONE),
    "large, and its begin quick": (replace(FAST, total=None), FAST, around(B), NONE),
    # not known
    "not measured": (None, FAST, around(B, B), UNKNOWN),
    "not measured anywhere": (None, None, around(), UNKNOWN),
    "large, and its begin slow": (replace(WAITS, total=None), FAST, around(G), UNKNOWN),
    # our own tests
    "slow beside a test of ours": (page(transfer=9, load=True), FAST, around(B), OWN),
    "failed beside a test of ours": (failed(load=True), FAST, around(), OWN),
    "slow beside a test at headquarters": (WAITS, replace(WAITS, under_load=True), around(U),
                                           UNKNOWN),
    "failed there beside a test": (failed(), failed(load=True), around(), UNKNOWN),
    # slow at the server
    "waits at both": (WAITS, WAITS, around(G, G), SERVER),
    "waits at both, bad line": (WAITS, WAITS, around(B), SERVER),
    "waits at both, bad office network": (WAITS, WAITS, around(G, B), SERVER),
    "waits at both, nothing else known": (WAITS, WAITS, around(), SERVER),
    "trickles at both": (TRICKLES, TRICKLES, around(G, G), SERVER),
    "trickles at both over a bad line": (TRICKLES, TRICKLES, around(B), SERVER),
    "waits at both, narrow line": (WAITS, WAITS, around(G, rate=64e3), SERVER),
    "waits at both, others are good": (WAITS, WAITS, around(G, hub=(3, 0)), SERVER),
    "waited at the office alone, good line": (WAITS, FAST, around(G, G), SERVER),
    "waited at the office alone, lan not known": (WAITS, FAST, around(G), SERVER),
    "waited, headquarters not known": (WAITS, None, around(G), SERVER),
    "waited, headquarters failed": (WAITS, failed(), around(G), SERVER),
    "waits over a long way": (page(trip=0.7, wait=8.0, transfer=0.5), page(wait=8.0), around(G),
                              SERVER),
    # it looks like the server, and may be a request that was lost
    "waited at the office alone, bad line": (WAITS, FAST, around(B), UNKNOWN),
    "waited at the office alone, line not known": (WAITS, FAST, around(), UNKNOWN),
    "waited at the office alone, bad lan": (WAITS, FAST, around(G, B), UNKNOWN),
    "waited, nothing else known": (WAITS, None, around(), UNKNOWN),
    # the line
    "slow transfer over a bad line": (TRICKLES, FAST, around(B, G), LINE),
    "slow transfer, lan not known": (TRICKLES, FAST, around(B), LINE),
    "slow handshakes over a bad line": (FAR, FAST, around(B), LINE),
    "slow handshakes, bad line, alone": (FAR, None, around(B), LINE),
    "the line is just so narrow": (TRICKLES, FAST, around(G, rate=40e3), LINE),
    "so narrow, alone": (TRICKLES, None, around(G, rate=40e3), LINE),
    "no connection over a bad line": (failed(), FAST, around(B), LINE),
    "no connection, bad line, lan good": (failed(), FAST, around(B, G), LINE),
    "all fail over a bad line": (failed(), None, around(B, office=(0, 3)), LINE),
    # both
    "waits at both, and the line is slow besides": (BOTH, page(wait=6.0), around(B), TWO),
    "so, and narrow": (BOTH, page(wait=6.0), around(G, rate=32e3), TWO),
    "down everywhere behind a bad line": (failed(), failed(), around(B), TWO),
    # the service was slow when headquarters asked, and not when the office did
    "waited there only, slow transfer here": (TRICKLES, WAITS, around(B), LINE),
    "waited there only, handshakes here": (FAR, WAITS, around(B), LINE),
    "trickled there only, handshakes here": (FAR, TRICKLES, around(B), LINE),
    "waited there only, bad lan here": (FAR, WAITS, around(G, B), OFFICE),
    "waited there only, all is good here": (FAR, WAITS, around(G, G), UNKNOWN),
    "waited here, handshakes there": (WAITS, FAR, around(G), UNKNOWN),
    "waits at both, here for longer": (page(wait=20.0), WAITS, around(B), SERVER),
    # the service is down
    "no connection at both": (failed(), failed(), around(G, G), DOWN),
    "no connection at both, others are good": (failed(), failed(), around(G, hub=(3, 0)), DOWN),
    "an error page at both": (failed(ANS), failed(ANS), around(), DOWN),
    "an error page at both, bad line": (failed(ANS), failed(ANS), around(B), DOWN),
    "an error page at both, as of all": (failed(ANS), failed(ANS), around(hub=(0, 3)), DOWN),
    "its certificate, at both": (failed(CERT), failed(CERT), around(G), DOWN),
    "an error page here, no connection there": (failed(ANS), failed(), around(G), DOWN),
    # the office's own network
    "bad lan, no connection": (failed(), FAST, around(G, B), OFFICE),
    "bad lan and bad line": (failed(), FAST, around(B, B), OFFICE),
    "bad lan, slow transfer": (TRICKLES, FAST, around(G, B), OFFICE),
    "bad lan, slow handshakes": (FAR, FAST, around(G, B), OFFICE),
    "bad lan, slow handshakes, alone": (FAR, None, around(U, B), OFFICE),
    "certificate at the office alone": (failed(CERT), FAST, around(G, G), OFFICE),
    "certificate at the office alone, bad line": (failed(CERT), FAST, around(B), OFFICE),
    "its name server is slow": (NAMES, FAST, around(G, G), OFFICE),
    "nothing works there, and the line does": (failed(), FAST, around(G, office=(0, 2)), OFFICE),
    "its proxy, bad lan": (failed(PROXY), FAST, around(G, B), OFFICE),
    # headquarters' own way
    "nothing works at either end": (failed(), failed(), around(G, hub=(0, 3)), HUB),
    "so, over a bad line": (failed(), failed(), around(B, hub=(0, 3)), HUB),
    "handshakes are slow at both": (FAR, FAR, around(G), HUB),
    "names are slow at both": (NAMES, NAMES, around(G), HUB),
    # it cannot be told
    "an error page at the office alone": (failed(ANS), FAST, around(G, G), UNKNOWN),
    "an error page over a bad line": (failed(ANS), FAST, around(B, B), UNKNOWN),
    "an error page, headquarters not known": (failed(ANS), None, around(G), UNKNOWN),
    "no connection, all is good": (failed(), FAST, around(G, G, office=(3, 0)), UNKNOWN),
    "no connection, nothing else known": (failed(), FAST, around(), UNKNOWN),
    "no connection, headquarters not known": (failed(), None, around(B), UNKNOWN),
    "slow transfer, all is good": (TRICKLES, FAST, around(G, G, rate=4e6), UNKNOWN),
    "slow transfer, nothing else known": (TRICKLES, FAST, around(), UNKNOWN),
    "slow transfer, bad line, alone": (TRICKLES, None, around(B), UNKNOWN),
    "slow handshakes, good line": (FAR, FAST, around(G, G), UNKNOWN),
    "far more of the way, and a wait too long by itself": (page(wait=6.0, transfer=30.0), FAST,
                                                            around(B), UNKNOWN),
    "some of each": (MIXED, FAST, around(G), UNKNOWN),
    "some of each, bad line": (MIXED, FAST, around(B), UNKNOWN),
    "its proxy, all is good": (failed(PROXY), FAST, around(G, G), UNKNOWN),
    "proxies at both": (failed(PROXY), failed(PROXY), around(G), UNKNOWN),
    "slow names, line not known": (NAMES, FAST, around(), UNKNOWN),
    "slow names over a bad line": (NAMES, FAST, around(B), UNKNOWN),
    "no answer in time, bad line": (failed(WAIT), FAST, around(B), UNKNOWN),
    "no answer in time, good line": (failed(WAIT), FAST, around(G), UNKNOWN),
    "no answer in time, alone": (failed(WAIT), None, around(B), UNKNOWN),
    "broke off, and slow at headquarters": (failed(), WAITS, around(G), UNKNOWN),
    "so, with a proxy": (failed(PROXY), WAITS, around(B), UNKNOWN),
    # failed here, and slow there
    "no answer in time, slow there": (failed(WAIT), WAITS, around(G), SERVER),
    "no answer in time, slow there, bad line": (failed(WAIT), WAITS, around(B), TWO),
    "broke off over a bad line, slow there": (failed(), TRICKLES, around(B), TWO),
    "certificate here, slow there": (failed(CERT), WAITS, around(G), OFFICE),
    "no answer from any, bad line": (failed(WAIT), FAST, around(B, office=(0, 2)), LINE),
    "no answer at both": (failed(WAIT), failed(WAIT), around(G), DOWN),
    "no answer at both, bad line": (failed(WAIT), failed(WAIT), around(B), TWO),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_fault_is_placed(name: str) -> None:
    """Case by case."""
    office, hub, known, place = CASES[name]
    assert fault_of(office, hub, known, SLOW) is place


def test_the_table_holds_every_place_and_enough_cases() -> None:
    """At least fifty."""
    assert len(CASES) >= 50
    assert {place for *_, place in CASES.values()} == set(FaultPlace)


AROUND = [
    around(line, lan, rate, here, there)
    for line, lan, rate, here, there in product(
        Evidence, Evidence, (None, 1e4, 1e7), ((0, 0), (2, 0), (0, 2)), ((0, 0), (2, 0), (0, 2))
    )
]


@pytest.mark.parametrize("wait", [5.1, 8.0, 25.0])
def test_a_slow_server_is_never_the_lines_fault(wait: float) -> None:
    """Whatever else is known; nor the office's network."""
    office, hub = page(wait=wait), page(wait=wait)
    for other in (hub, FAST, None, failed(), failed(ANS)):
        for known in AROUND:
            assert fault_of(office, other, known, SLOW) not in {LINE, OFFICE, TWO}


@pytest.mark.parametrize(
    "office", [page(transfer=7.0), TRICKLES, FAR, NAMES, failed(), failed(WAIT)]
)
def test_a_bad_line_is_never_the_services_fault(office: PageVisit) -> None:
    """As long as headquarters gets the page."""
    for known in AROUND:
        assert fault_of(office, FAST, known, SLOW) not in {DOWN, SERVER, TWO}


def test_a_lost_first_packet_does_not_hide_a_slow_server() -> None:
    """Connecting that took 3 s is no round trip, so that the server may have waited as long."""
    fast = PageVisit(total=0.1, connect=0.01, first_byte=0.05)
    office = PageVisit(total=12.0, connect=3.0, first_byte=3.1, bytes=18_000)
    bad = Surroundings(line=Evidence.BAD, rate=1e6)
    assert fault_of(office, fast, bad, 1.0) is FaultPlace.UNKNOWN
    quick = PageVisit(total=9.0, connect=3.0, first_byte=0.4, bytes=18_000)
    assert fault_of(quick, fast, bad, 1.0) is FaultPlace.LINE


def test_what_breaks_off_after_a_long_wait_is_not_the_lines_alone() -> None:
    """The server kept the office waiting, and then time ran out over a bad line."""
    fast = PageVisit(total=0.1, connect=0.01, first_byte=0.05)
    office = PageVisit(VisitFailure.NETWORK, connect=0.4, first_byte=3.4)
    bad = Surroundings(line=Evidence.BAD)
    assert fault_of(office, fast, bad, 1.0) is FaultPlace.UNKNOWN
    at_once = PageVisit(VisitFailure.NETWORK, connect=0.4, first_byte=0.9)
    assert fault_of(at_once, fast, bad, 1.0) is FaultPlace.LINE
