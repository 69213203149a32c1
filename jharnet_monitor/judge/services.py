"""Where the fault lies when a web service is slow or fails at an office. The office's visit is
compared with headquarters' visit to the same service, and with evidence on the line between them
and on the office's own network. Without evidence nothing is blamed: a lost packet and a slow server
look alike in one visit.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

DECISIVE_SHARE = 2 / 3
"""Share of the excess time that must be in one part for that part to be blamed."""
RATE_SLACK = 1.5
"""A transfer up to this factor longer than the line's rate explains is attributed to the line."""
SYN_RETRY_SECONDS = 1.0
"""After this time a connection's first packet is sent again (RFC 6298)."""
FEWEST_ELSEWHERE = 1
"""Least number of other services that must fail before they count as failing together."""


class FaultPlace(StrEnum):
    """The place of the fault that explains an office's visit."""

    NONE = "none"
    """The visit was good."""
    LINE = "line"
    """Between office and headquarters."""
    SERVICE_DOWN = "service_down"
    """It fails everywhere."""
    SERVICE_SLOW = "service_slow"
    SERVICE_AND_LINE = "service_and_line"
    """Each alone would have made it slow."""
    OFFICE_NETWORK = "office_network"
    """The office's own network, its name server, proxy or clock."""
    HEADQUARTERS = "headquarters"
    """The path behind headquarters, which all offices share."""
    OWN_TEST = "own_test"
    """A test of this monitor filled the line meanwhile."""
    UNKNOWN = "unknown"


class Evidence(StrEnum):
    """The evidence of other measurements on a part of the path."""

    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"
    """Not measured, or near a threshold."""


class VisitFailure(StrEnum):
    """How a visit failed, as far as that locates the fault."""

    NETWORK = "network"
    """The name was not resolved, no connection was made, or it broke off."""
    WAITING = "waiting"
    """Connected, but no answer in time: the server hangs, or the line lost requests."""
    ANSWER = "answer"
    """The server answered, but not with the page."""
    CERTIFICATE = "certificate"
    """An invalid certificate: of the service, by a wrong clock, or by an interception."""
    PROXY = "proxy"
    """The proxy at the place of the visit failed."""


_BROKEN_OFF = (VisitFailure.NETWORK, VisitFailure.WAITING)


@dataclass(frozen=True, slots=True)
class PageVisit:
    """One visit, in seconds; None for what was not measured. `failure` is None for a page.

    `first_byte` is counted from the connection on; `total` includes all phases. `answer` is the
    time until the headers, as a browser measures it; it reports nothing else.
    """

    failure: VisitFailure | None = None
    total: float | None = None
    dns: float | None = None
    connect: float | None = None
    tls: float | None = None
    first_byte: float | None = None
    bytes: float = 0.0
    under_load: bool = False
    answer: float | None = None

    @property
    def server(self) -> float:
        """The server's time: the wait for the first byte less a round trip, for which the
        connection time stands; with redirects each page has its own connection."""
        return max(0.0, (self.first_byte or 0.0) - (self.connect or 0.0))

    @property
    def longest_wait(self) -> float:
        """Upper bound of the server's time: a connection that needed a second attempt does not show
        the round trip, so its time is not subtracted."""
        connect = self.connect or 0.0
        return self.server if connect < SYN_RETRY_SECONDS else self.first_byte or 0.0

    @property
    def transfer(self) -> float:
        """From the first byte to the last."""
        known = (self.dns, self.connect, self.tls, self.first_byte)
        return max(0.0, (self.total or 0.0) - sum(filter(None, known)))

    @property
    def path(self) -> float:
        """All time except the server's: names, handshakes and transfer."""
        return max(0.0, (self.total or 0.0) - self.server)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What else is known at the time of the visits.

    `rate` is what the line carries in bit/s. `others_at_office` and `others_at_headquarters` count
    the other services visited there: how many delivered their page, and how many did not.
    """

    line: Evidence = Evidence.UNKNOWN
    office_network: Evidence = Evidence.UNKNOWN
    rate: float | None = None
    others_at_office: Others = (0, 0)
    others_at_headquarters: Others = (0, 0)


Others = tuple[int, int]


def fault_of(
    office: PageVisit | None, headquarters: PageVisit | None, around: Surroundings, slow: float
) -> FaultPlace:
    """Where the fault of the office's visit lies; a page over `slow` seconds is too slow.

    >>> fast = PageVisit(total=0.4, connect=0.02, first_byte=0.2)
    >>> fault_of(PageVisit(total=9.0, connect=0.05, first_byte=8.5), fast,
    ...          Surroundings(line=Evidence.GOOD), slow=5.0).value
    'service_slow'
    """
    if office is None:
        return FaultPlace.UNKNOWN
    if office.failure is None and _quick(office, slow):
        return FaultPlace.NONE
    if office.under_load:
        return FaultPlace.OWN_TEST
    if headquarters is not None and headquarters.under_load and not _good(headquarters, slow):
        headquarters = None  # our own test at headquarters disturbed it
    if office.failure is not None:
        place = _place_of_failure(office.failure, headquarters, around, slow)
        # if the wait alone was too long, the line alone does not explain the failure
        waited = office.longest_wait > slow
        return FaultPlace.UNKNOWN if waited and place is FaultPlace.LINE else place
    if office.total is None:
        return FaultPlace.UNKNOWN
    return _place_of_slowness(office, headquarters, around, slow)


def _quick(visit: PageVisit, slow: float) -> bool:
    """Whether a visit was fast enough; a partly read page counts by its known parts, and a visit by
    browser by the time until the answer."""
    return _known(visit) <= slow


def _good(visit: PageVisit, slow: float) -> bool:
    return visit.failure is None and _quick(visit, slow)


def _known(visit: PageVisit) -> float:
    if visit.total is not None:
        return visit.total
    return sum(filter(None, (visit.answer, visit.dns, visit.connect, visit.tls, visit.first_byte)))


def _place_of_failure(
    failure: VisitFailure, headquarters: PageVisit | None, around: Surroundings, slow: float
) -> FaultPlace:
    if headquarters is None:
        return _place_without_headquarters(failure, around)
    if headquarters.failure is None:
        other = _place_at_office if _quick(headquarters, slow) else _place_if_headquarters_slow
        return other(failure, around)
    if _all_fail(around.others_at_headquarters) and headquarters.failure is not VisitFailure.ANSWER:
        return FaultPlace.HEADQUARTERS
    if VisitFailure.PROXY in (failure, headquarters.failure):
        return FaultPlace.UNKNOWN
    if failure in _BROKEN_OFF and around.line is Evidence.BAD:
        return FaultPlace.SERVICE_AND_LINE
    return FaultPlace.SERVICE_DOWN


def _place_without_headquarters(failure: VisitFailure, around: Surroundings) -> FaultPlace:
    """The place of a failure without a visit by headquarters: only the office's surroundings
    count."""
    if failure is VisitFailure.PROXY:
        return _near_office(around)
    if failure in _BROKEN_OFF and _all_fail(around.others_at_office):
        return _near_office(around)
    return FaultPlace.UNKNOWN


def _place_if_headquarters_slow(failure: VisitFailure, around: Surroundings) -> FaultPlace:
    """The place of a failure if headquarters got the page, but slowly."""
    if failure is VisitFailure.CERTIFICATE:
        return FaultPlace.OFFICE_NETWORK
    if failure in _BROKEN_OFF and around.line is Evidence.BAD:
        return FaultPlace.SERVICE_AND_LINE
    if failure is VisitFailure.WAITING and around.line is Evidence.GOOD:
        return FaultPlace.SERVICE_SLOW
    return FaultPlace.UNKNOWN


def _place_at_office(failure: VisitFailure, around: Surroundings) -> FaultPlace:
    """The place of a failure if the service works at headquarters."""
    if failure is VisitFailure.CERTIFICATE:
        return FaultPlace.OFFICE_NETWORK
    if failure is VisitFailure.ANSWER:
        return FaultPlace.UNKNOWN  # a filter on the path, or a past fault
    if failure is VisitFailure.WAITING and not _all_fail(around.others_at_office):
        return FaultPlace.UNKNOWN
    near = _near_office(around)
    if near is not FaultPlace.UNKNOWN or failure is VisitFailure.PROXY:
        return near
    if around.line is Evidence.GOOD and _all_fail(around.others_at_office):
        return FaultPlace.OFFICE_NETWORK
    return FaultPlace.UNKNOWN


def _near_office(around: Surroundings) -> FaultPlace:
    """The part known to be bad between the office's PC and headquarters, the nearest first."""
    if around.office_network is Evidence.BAD:
        return FaultPlace.OFFICE_NETWORK
    if around.line is Evidence.BAD:
        return FaultPlace.LINE
    return FaultPlace.UNKNOWN


def _all_fail(others: Others) -> bool:
    good, bad = others
    return good == 0 and bad >= FEWEST_ELSEWHERE


class _Excess(NamedTuple):
    """How much longer the office's visit took than headquarters', or its time if there is none."""

    server: float
    path: float

    def is_mostly(self, part: float) -> bool:
        return part >= DECISIVE_SHARE * (self.server + self.path)


def _place_of_slowness(
    office: PageVisit, headquarters: PageVisit | None, around: Surroundings, slow: float
) -> FaultPlace:
    compared = headquarters if headquarters is not None and headquarters.failure is None else None
    if compared is not None and not _quick(compared, slow):
        return _place_if_both_slow(office, compared, around, slow)
    server, path = (0.0, 0.0) if compared is None else (compared.server, compared.path)
    excess = _Excess(max(0.0, office.server - server), max(0.0, office.path - path))
    if excess.is_mostly(excess.server):
        # a request that the line lost is sent again, and looks like a slow server
        good = around.line is Evidence.GOOD and around.office_network is not Evidence.BAD
        return FaultPlace.SERVICE_SLOW if good else FaultPlace.UNKNOWN
    wait = max(excess.server, office.longest_wait - server)
    if excess.is_mostly(excess.path) and wait <= slow:
        return _place_of_slow_path(office, compared, around)
    return FaultPlace.UNKNOWN  # both parts, or the wait alone was too long


def _place_if_both_slow(
    office: PageVisit, headquarters: PageVisit, around: Surroundings, slow: float
) -> FaultPlace:
    """The place if headquarters waits as well: common time is the service's, the rest the
    office's."""
    if headquarters.server + headquarters.transfer < DECISIVE_SHARE * _known(headquarters):
        # names and handshakes took the time there
        same = office.server < DECISIVE_SHARE * _known(office)
        return FaultPlace.HEADQUARTERS if same else FaultPlace.UNKNOWN
    if _all_fail(around.others_at_headquarters):
        return FaultPlace.HEADQUARTERS
    shared = min(office.server, headquarters.server) + min(office.transfer, headquarters.transfer)
    rest = _Excess(
        max(0.0, office.server - headquarters.server),
        max(0.0, _known(office) - shared - max(0.0, office.server - headquarters.server)),
    )
    if shared >= DECISIVE_SHARE * _known(office):
        return FaultPlace.SERVICE_SLOW
    if rest.path <= slow or not rest.is_mostly(rest.path):
        return FaultPlace.SERVICE_SLOW if shared > slow else FaultPlace.UNKNOWN
    own = _place_of_slow_path(office, headquarters, around)
    if shared <= slow:
        return own  # the service was slow at another time
    return FaultPlace.SERVICE_AND_LINE if own is FaultPlace.LINE else FaultPlace.SERVICE_SLOW


def _place_of_slow_path(
    office: PageVisit, headquarters: PageVisit | None, around: Surroundings
) -> FaultPlace:
    """The place if names, handshakes or transfer took the time at the office."""
    near = _near_office(around)
    transfer_leads = office.transfer >= DECISIVE_SHARE * office.path
    if near is FaultPlace.OFFICE_NETWORK:
        return near
    if transfer_leads and headquarters is None and not _rate_explains(office, around):
        return FaultPlace.UNKNOWN  # the server may have sent slowly
    if (office.dns or 0.0) >= DECISIVE_SHARE * office.path:
        # its name server; on a bad line the query or the answer may have been lost
        is_own = around.line is Evidence.GOOD
        return FaultPlace.OFFICE_NETWORK if is_own else FaultPlace.UNKNOWN
    if transfer_leads and near is FaultPlace.UNKNOWN and _rate_explains(office, around):
        return FaultPlace.LINE
    return near


def _rate_explains(office: PageVisit, around: Surroundings) -> bool:
    """Whether the line cannot carry the page any faster."""
    if not around.rate:
        return False
    return office.transfer <= RATE_SLACK * office.bytes * 8 / around.rate
