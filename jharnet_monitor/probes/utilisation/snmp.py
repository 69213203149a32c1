"""Reads the counters of one interface and the uptime of a router by SNMP.

One request reads everything, so that the counters and the router's clock are from the same moment.
A router that does not answer is `no_data`: the line may work, and only SNMP may be blocked.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from gufo import snmp
from gufo.snmp.aio import SnmpSession

from jharnet_monitor.clock import Clock
from jharnet_monitor.config.routers import Snmp
from jharnet_monitor.errors import UserError
from jharnet_monitor.judge.line.interface_counters import (
    COUNTER64,
    TICKS_PER_SECOND,
    InterfaceCount,
    InterfaceCounters,
)
from jharnet_monitor.judge.line.interface_faults import FULL, HALF
from jharnet_monitor.model import Cause
from jharnet_monitor.probes.base import NoData
from jharnet_monitor.probes.dns import resolve
from jharnet_monitor.probes.utilisation.probe import ANSWER_SECONDS, TRIES
from jharnet_monitor.security.tokens import read_secret

T = TypeVar("T")

MAX_INTERFACE_NAMES = 1000
"""At most this many interface names are searched."""
FRAMING_BYTES = {6: 18}
"""Framing bytes per packet by ifType: on Ethernet the octet counters include the MAC header and the
frame check sequence (RFC 3635)."""

_SYS_UPTIME = "1.3.6.1.2.1.1.3.0"
_HOST_UPTIME = "1.3.6.1.2.1.25.1.1.0"  # hrSystemUptime: of the host, not of its SNMP agent
_ENGINE_SECONDS = (
    "1.3.6.1.6.3.10.2.1.3.0"  # snmpEngineTime, in seconds: does not wrap with the others
)
_IF, _IFX = "1.3.6.1.2.1.2.2.1", "1.3.6.1.2.1.31.1.1.1"  # ifTable, ifXTable (RFC 2863)
_NAME, _DESCR, _ALIAS = f"{_IFX}.1", f"{_IF}.2", f"{_IFX}.18"
_TYPE, _SPEED, _HIGH_SPEED, _DISCONTINUITY = f"{_IF}.3", f"{_IF}.5", f"{_IFX}.15", f"{_IFX}.19"
_IN_64_BIT = tuple(f"{_IFX}.{column}" for column in (6, 7, 8, 9))
_OUT_64_BIT = tuple(f"{_IFX}.{column}" for column in (10, 11, 12, 13))
_IN_32_BIT = tuple(f"{_IF}.{column}" for column in (10, 11, 12))
_OUT_32_BIT = tuple(f"{_IF}.{column}" for column in (16, 17, 18))
"""Octets, then unicast, multicast and broadcast packets."""
_IN_FAULTS, _OUT_FAULTS = (f"{_IF}.14", f"{_IF}.13"), (f"{_IF}.20", f"{_IF}.19")
"""Errors, then discards."""
_DUPLEX = "1.3.6.1.2.1.10.7.2.1.19"  # dot3StatsDuplexStatus (RFC 3635)
_DUPLEX_WORDS = {2: HALF, 3: FULL}
_COLUMNS = (
    _TYPE, _SPEED, _HIGH_SPEED, _DISCONTINUITY,
    *_IN_64_BIT, *_OUT_64_BIT, *_IN_32_BIT, *_OUT_32_BIT, *_IN_FAULTS, *_OUT_FAULTS, _DUPLEX,
)  # fmt: skip
_SPEED_UNKNOWN = (1 << 32) - 1

_AUTH: dict[str, type[snmp.BaseAuthKey]] = {
    "md5": snmp.Md5Key, "sha1": snmp.Sha1Key, "sha224": snmp.Sha224Key,
    "sha256": snmp.Sha256Key, "sha384": snmp.Sha384Key, "sha512": snmp.Sha512Key,
}  # fmt: skip
_PRIVACY: dict[str, type[snmp.BasePrivKey]] = {
    "des": snmp.DesKey, "aes128": snmp.Aes128Key, "aes192": snmp.Aes192Key,
    "aes256": snmp.Aes256Key,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class RouterReading:
    """One reading of a router, which has been running for at least `uptime` seconds."""

    uptime: float
    line: InterfaceReading
    lan: InterfaceReading | None = None


@dataclass(frozen=True, slots=True)
class InterfaceReading:
    """One reading of an interface; `duplex` is `half`, `full`, or None if not reported."""

    counters: InterfaceCounters
    duplex: str | None


class Router:
    """A session with one router about its interface to the line, and about the one to the office's
    network where that is known; made by `router_session`."""

    def __init__(self, session: SnmpSession, index: str, lan: str | None, clock: Clock) -> None:
        self._session = session
        self._index = index
        self._lan = lan
        self._clock = clock

    async def read(self) -> RouterReading:
        """Read the counters; raises `NoData`."""

        async def request() -> RouterReading:
            uptimes = [_SYS_UPTIME, _HOST_UPTIME, _ENGINE_SECONDS]
            sent = self._clock.monotonic()
            answer = await self._session.get_many(
                [*uptimes, *(f"{column}.{self._index}" for column in _COLUMNS)]
            )
            at = (sent + self._clock.monotonic()) / 2
            lan = None
            if self._lan is not None:
                oids = [_SYS_UPTIME, *(f"{column}.{self._lan}" for column in _COLUMNS)]
                lan = _parse_interface(await self._session.get_many(oids), self._lan, at)
            line = _parse_interface(answer, self._index, at)
            return RouterReading(_uptime(answer, line.counters.ticks), line, lan)

        return await _with_retries(request)


@asynccontextmanager
async def router_session(settings: Snmp, router: str | None, clock: Clock) -> AsyncIterator[Router]:
    """A session with a router while the block runs, at `settings.address` or else `router`.

    The interface is looked up by its name each time, as its number may change when a router
    restarts. Raises `NoData`.
    """
    host = settings.address or router
    if host is None:
        raise NoData(Cause.NOT_CONFIGURED, "neither `router:` nor `snmp.address:` is set")
    address = (await resolve(host))[0]
    session = SnmpSession(address, settings.port, timeout=ANSWER_SECONDS, **_credentials(settings))
    await _with_retries(session.refresh)
    index = await _find_interface(session, settings.interface)
    lan = None
    if settings.lan_interface is not None:
        lan = await _find_interface(session, settings.lan_interface)
    yield Router(session, index, lan, clock)


def _credentials(settings: Snmp) -> dict[str, Any]:
    """Community or user, read from their files each time, so a new secret needs no restart."""
    user, key = settings.user, None
    try:
        if user is None:
            community = settings.community_file
            return {} if community is None else {"community": read_secret(community)}
        auth = _AUTH[user.auth](read_secret(user.auth_file).encode())
        if user.privacy_file is not None:
            key = _PRIVACY[user.privacy](read_secret(user.privacy_file).encode())
    except UserError as error:
        raise NoData(Cause.NOT_CONFIGURED, str(error)) from error
    return {"user": snmp.User(user.name, auth_key=auth, priv_key=key)}


async def _with_retries(request: Callable[[], Awaitable[T]]) -> T:
    """The result of a request that is repeated if it is lost; raises `NoData`."""
    for retries in reversed(range(TRIES)):
        try:
            return await request()
        except snmp.SnmpAuthError as error:
            raise NoData(Cause.SNMP_REFUSED, str(error)) from error
        except OSError as error:  # TimeoutError is one
            if not retries:
                raise NoData(Cause.ROUTER_SILENT, str(error)) from error
        except (snmp.SnmpError, RuntimeError, ValueError) as error:
            raise NoData(Cause.BAD_REPORT, f"the router's answer: {error}") from error
        except BaseException as error:
            if type(error).__name__ != "PanicException":
                raise
            # The library panics on some answers. In Python that is not an `Exception`, so it would
            # end the calling part. The session is not used again.
            raise NoData(Cause.BAD_REPORT, f"the router's answer: {error}") from error
    raise AssertionError("the last try returns or raises")


async def _find_interface(session: SnmpSession, wanted: str) -> str:
    """The ifIndex of the interface with this name, alias or number.

    Raises `NoData` that lists the names of the router.
    """
    known: list[str] = []

    async def search() -> str | None:
        for column in (_NAME, _DESCR, _ALIAS):
            async for oid, value in session.getbulk(column):
                index, name = oid.rpartition(".")[2], _text(value)
                if wanted in (name, index):
                    return index
                known.append(name)
                if len(known) >= MAX_INTERFACE_NAMES:
                    return None
        return None

    found = await _with_retries(search)
    if found is None:
        names = ", ".join(dict.fromkeys(filter(None, known)))[:200]
        raise NoData(Cause.NOT_CONFIGURED, f"no interface `{wanted}`; the router has {names}")
    return found


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _number(answer: Mapping[str, Any], oid: str) -> int | None:
    value = answer.get(oid)
    return value if type(value) is int and value >= 0 else None


def _uptime(answer: Mapping[str, Any], ticks: int) -> float:
    """The seconds for which the router has been running, at least."""
    host = (_number(answer, _HOST_UPTIME) or 0) / TICKS_PER_SECOND
    return max(ticks / TICKS_PER_SECOND, host, _number(answer, _ENGINE_SECONDS) or 0)


def _parse_interface(answer: Mapping[str, Any], index: str, at: float) -> InterfaceReading:
    """Parse an answer; raises `ValueError` if a required object is missing."""

    def number(column: str) -> int | None:
        return _number(answer, f"{column}.{index}")

    def counts(columns: tuple[str, ...], faults: tuple[str, str]) -> InterfaceCount | None:
        octets, *packets = map(number, columns)
        if octets is None:
            return None
        unicast, *others = packets
        count = None if unicast is None else unicast + sum(filter(None, others))
        return InterfaceCount(octets, count, *map(number, faults))

    ticks = _number(answer, _SYS_UPTIME)
    counts_64 = counts(_IN_64_BIT, _IN_FAULTS), counts(_OUT_64_BIT, _OUT_FAULTS)
    counts_32 = counts(_IN_32_BIT, _IN_FAULTS), counts(_OUT_32_BIT, _OUT_FAULTS)
    found = counts_32 if None in counts_64 else counts_64
    inbound, outbound = found
    if ticks is None or inbound is None or outbound is None:
        raise ValueError("sysUpTime or the octet counters of this interface are missing")
    counters = InterfaceCounters(
        at=at,
        ticks=ticks,
        inbound=inbound,
        outbound=outbound,
        bits=COUNTER64 if found is counts_64 else 32,
        header=FRAMING_BYTES.get(number(_TYPE) or 0, 0),
        speed=_speed(number(_SPEED), number(_HIGH_SPEED)),
        discontinuity=number(_DISCONTINUITY) or 0,
    )
    return InterfaceReading(counters, _DUPLEX_WORDS.get(number(_DUPLEX) or 0))


def _speed(speed: int | None, megabits: int | None) -> float | None:
    """The speed in bit/s; ifHighSpeed (Mbit/s) is used only where 32 bits are too few."""
    if speed and speed != _SPEED_UNKNOWN:
        return float(speed)
    return megabits * 1e6 if megabits else None
