"""Asks a router by SNMP for the counters of one interface, and how long it has been running.

All that is needed stands in one question, so that counters and router's clock are of one moment. A
router that does not answer is `no_data`: the line may be good, and only the question not allowed.
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
from jharnet_monitor.model import Cause
from jharnet_monitor.probes.base import NoData
from jharnet_monitor.probes.dns import resolve
from jharnet_monitor.probes.utilisation.probe import ANSWER_SECONDS, TRIES
from jharnet_monitor.security.tokens import read_secret

T = TypeVar("T")

MOST_INTERFACES = 1000
"""No more names than this are looked through."""
FRAMING_BYTES = {6: 18}
"""By ifType: of Ethernet the MAC header and the check sequence are counted (RFC 3635)."""

_SYS_UPTIME = "1.3.6.1.2.1.1.3.0"
_HOST_UPTIME = "1.3.6.1.2.1.25.1.1.0"  # hrSystemUptime: of the machine, not of its SNMP part
_ENGINE_SECONDS = "1.3.6.1.6.3.10.2.1.3.0"  # snmpEngineTime: goes on where the others wrap
_IF, _IFX = "1.3.6.1.2.1.2.2.1", "1.3.6.1.2.1.31.1.1.1"  # ifTable, ifXTable (RFC 2863)
_NAME, _DESCR, _ALIAS = f"{_IFX}.1", f"{_IF}.2", f"{_IFX}.18"
_TYPE, _SPEED, _HIGH_SPEED, _DISCONTINUITY = f"{_IF}.3", f"{_IF}.5", f"{_IFX}.15", f"{_IFX}.19"
_WIDE_IN = tuple(f"{_IFX}.{column}" for column in (6, 7, 8, 9))
_WIDE_OUT = tuple(f"{_IFX}.{column}" for column in (10, 11, 12, 13))
_NARROW_IN = tuple(f"{_IF}.{column}" for column in (10, 11, 12))
_NARROW_OUT = tuple(f"{_IF}.{column}" for column in (16, 17, 18))
"""Octets, then packets to one, to many, to all."""
_COLUMNS = (
    _TYPE, _SPEED, _HIGH_SPEED, _DISCONTINUITY, *_WIDE_IN, *_WIDE_OUT, *_NARROW_IN, *_NARROW_OUT,
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
    """What a router told; it has been running for `uptime` seconds at least."""

    uptime: float
    counters: InterfaceCounters


class Router:
    """A session with one router about one of its interfaces; made by `asking`."""

    def __init__(self, session: SnmpSession, index: str, clock: Clock) -> None:
        self._session = session
        self._index = index
        self._clock = clock
        self._oids = [_SYS_UPTIME, _HOST_UPTIME, _ENGINE_SECONDS]
        self._oids += [f"{column}.{index}" for column in _COLUMNS]

    async def read(self) -> RouterReading:
        """Ask once more; raises `NoData`."""

        async def ask() -> RouterReading:
            asked = self._clock.monotonic()
            answer = await self._session.get_many(self._oids)
            return _told(answer, self._index, (asked + self._clock.monotonic()) / 2)

        return await _tried(ask)


@asynccontextmanager
async def asking(settings: Snmp, router: str | None, clock: Clock) -> AsyncIterator[Router]:
    """A session with a router while the block runs, by its own address or that of `settings`.

    The interface is looked for by its name each time: its number may change when a router restarts.
    Raises `NoData`.
    """
    host = settings.address or router
    if host is None:
        raise NoData(Cause.NOT_CONFIGURED, "neither `router:` nor an `address:` for SNMP")
    address = (await resolve(host))[0]
    session = SnmpSession(address, settings.port, timeout=ANSWER_SECONDS, **_proof(settings))
    await _tried(session.refresh)
    index = await _index(session, settings.interface)
    yield Router(session, index, clock)


def _proof(settings: Snmp) -> dict[str, Any]:
    """Community or user; their files are read each time, so that a new secret needs no restart."""
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


async def _tried(ask: Callable[[], Awaitable[T]]) -> T:
    """The answer to a question that may have to be repeated; raises `NoData`."""
    for left in reversed(range(TRIES)):
        try:
            return await ask()
        except snmp.SnmpAuthError as error:
            raise NoData(Cause.SNMP_REFUSED, str(error)) from error
        except OSError as error:  # TimeoutError is one
            if not left:
                raise NoData(Cause.ROUTER_SILENT, str(error)) from error
        except (snmp.SnmpError, RuntimeError, ValueError) as error:
            raise NoData(Cause.BAD_REPORT, f"the router: {error}") from error
    raise AssertionError("the last try returns or raises")


async def _index(session: SnmpSession, wanted: str) -> str:
    """The number of the interface that is called so; raises `NoData` that lists the known ones."""
    known: list[str] = []

    async def look() -> str | None:
        for column in (_NAME, _DESCR, _ALIAS):
            async for oid, value in session.getbulk(column):
                index, name = oid.rpartition(".")[2], _text(value)
                if wanted in (name, index):
                    return index
                known.append(name)
                if len(known) >= MOST_INTERFACES:
                    return None
        return None

    found = await _tried(look)
    if found is None:
        names = ", ".join(dict.fromkeys(filter(None, known)))[:200]
        raise NoData(Cause.NOT_CONFIGURED, f"no interface `{wanted}`; the router has {names}")
    return found


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _told(answer: Mapping[str, Any], index: str, moment: float) -> RouterReading:
    """Read an answer; raises `ValueError` where what cannot be missing is missing."""

    def number(oid: str) -> int | None:
        value = answer.get(oid)
        return value if type(value) is int and value >= 0 else None

    def way(columns: tuple[str, ...]) -> InterfaceCount | None:
        octets, *packets = (number(f"{column}.{index}") for column in columns)
        if octets is None:
            return None
        one, *others = packets
        return InterfaceCount(octets, None if one is None else one + sum(filter(None, others)))

    ticks = number(_SYS_UPTIME)
    wide, narrow = (way(_WIDE_IN), way(_WIDE_OUT)), (way(_NARROW_IN), way(_NARROW_OUT))
    counted = narrow if None in wide else wide
    inbound, outbound = counted
    if ticks is None or inbound is None or outbound is None:
        raise ValueError("tells no uptime, or counts no octets of this interface")
    uptimes = (ticks / TICKS_PER_SECOND, (number(_HOST_UPTIME) or 0) / TICKS_PER_SECOND)
    counters = InterfaceCounters(
        at=moment,
        ticks=ticks,
        inbound=inbound,
        outbound=outbound,
        bits=COUNTER64 if counted is wide else 32,
        header=FRAMING_BYTES.get(number(f"{_TYPE}.{index}") or 0, 0),
        speed=_speed(number(f"{_SPEED}.{index}"), number(f"{_HIGH_SPEED}.{index}")),
        discontinuity=number(f"{_DISCONTINUITY}.{index}") or 0,
    )
    return RouterReading(max(*uptimes, number(_ENGINE_SECONDS) or 0), counters)


def _speed(speed: int | None, megabits: int | None) -> float | None:
    """bit/s; ifHighSpeed is only needed where 32 bits do not hold them."""
    if speed and speed != _SPEED_UNKNOWN:
        return float(speed)
    return megabits * 1e6 if megabits else None
