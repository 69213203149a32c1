"""The types of values in a configuration, other than quantities, and their checks.

Every check raises `ValueError` with a valid example; `load` adds file, line and key path.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from datetime import time
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
)

from jharnet_monitor.config.dscp import DSCP_NAMES
from jharnet_monitor.config.units import Duration, Rate, Ratio
from jharnet_monitor.errors import as_one_line, is_one_line

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

ED25519_BYTES = 32
"""Length of a public key (RFC 8032, 5.1.5)."""
_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_HOST = re.compile(r"(?=.{1,253}$)[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?")
_WEB = re.compile(
    r"https?://(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?(?:/[A-Za-z0-9._~-]+)*"
)
_MAIL = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?"
)

_DRIVERS = {
    "sqlite": "sqlite", "sqlite+pysqlite": "sqlite",
    "postgresql": "postgresql", "postgresql+psycopg": "postgresql",
}  # fmt: skip
"""The kind of database for each scheme that the store opens."""


def has_surrogates(text: str) -> bool:
    """Whether a text has half of a character, which UTF-8 cannot write."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def check_line(text: str) -> str:
    """Return the text; raises `ValueError` if it is not one line without control characters."""
    if not is_one_line(text):
        raise ValueError(
            f"must be one line without control characters, not `{as_one_line(text)[:80]}`"
        )
    return text


def _joined(value: object) -> object:
    """A text with each run of spaces and line ends as one space; other values as they are."""
    return " ".join(value.split()) if isinstance(value, str) else value


def check_identifier(value: str) -> str:
    """Return the id; raises `ValueError` if it may not be part of URLs and file names."""
    if not _ID.fullmatch(value):
        raise ValueError(
            f"must be lower-case letters, digits and hyphens, such as `potka`, not `{value}`"
        )
    return value


def check_release_key(value: str) -> str:
    """Return the key; raises `ValueError` if it is no public key in base64."""
    try:
        if len(base64.b64decode(value, validate=True)) == ED25519_BYTES:
            return value
    except ValueError:
        pass
    raise ValueError(
        "must be the key in 44 characters of base64, as `jharnet-monitor update status` prints it "
        "on the hub"
    )


def _has_labels(host: str) -> bool:
    """Whether every label of a name has 1 to 63 characters (RFC 1123, 2.1)."""
    return all(1 <= len(label) <= 63 for label in host.removesuffix(".").split("."))


def check_host_name(value: str) -> str:
    """Return the name; raises `ValueError` if it is not a valid host name (RFC 1123)."""
    if not _HOST.fullmatch(value) or not _has_labels(value) or re.fullmatch(r"[0-9.]+", value):
        raise ValueError(f"must be a host name such as hub.example.in, not `{value}`")
    return value


def _address(value: str) -> str:
    if re.fullmatch(r"[0-9.]+", value) or ":" in value:
        try:
            IPv6Address(value) if ":" in value else IPv4Address(value)
        except ValueError as error:
            raise ValueError(f"must be an IP address such as 10.8.3.1, not `{value}`") from error
    elif not _HOST.fullmatch(value) or not _has_labels(value):
        raise ValueError(f"must be an IP address or a host name, not `{value}`")
    return value


def _device(value: str) -> str:
    """An address of one device, which a broadcast or multicast address is not."""
    _address(value)
    try:
        address = ip_address(value)
    except ValueError:
        return value  # a name
    if address.is_multicast or address.is_unspecified or value == "255.255.255.255":
        raise ValueError(f"must be the address of one device, such as 10.8.3.1, not `{value}`")
    return value


def _unquoted_time(value: object) -> object:
    """Refuse a number: YAML 1.1 reads 11:00 without quotes as base 60, 660."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 86400:
        minutes = value if value < 1440 else value // 60
        meant = f"{minutes // 60:02}:{minutes % 60:02}"
        raise ValueError(f'must be in quotes, "{meant}": without quotes YAML reads it as {value}')
    return value


def _dscp(value: object) -> object:
    if isinstance(value, str):
        try:
            return DSCP_NAMES[value.upper()]
        except KeyError:
            raise ValueError(
                f"must be a mark such as EF, AF41 or CS0, or 0 to 63, not `{value}`"
            ) from None
    return value


def _clock_time(value: str) -> str:
    if not re.fullmatch(r"\d\d:\d\d", value):
        raise ValueError(f'must be a time of day such as "11:00", not `{value}`')
    try:
        time.fromisoformat(value)
    except ValueError as error:
        raise ValueError(f'must be between "00:00" and "23:59", not `{value}`') from error
    return value


@lru_cache(maxsize=64)
def parse_weekdays(value: str) -> frozenset[int]:
    """Parse days of the week; Monday is 0.

    >>> sorted(parse_weekdays("mon-fri,sun"))
    [0, 1, 2, 3, 4, 6]
    """
    days: set[int] = set()
    for part in value.split(","):
        first, dash, last = (text.strip().lower() for text in part.partition("-"))
        if first not in WEEKDAYS or (dash and last not in WEEKDAYS):
            raise ValueError(f"must be days such as mon-sat or mon,wed,fri, not `{value}`")
        start, end = WEEKDAYS.index(first), WEEKDAYS.index(last or first)
        if end < start:
            raise ValueError(f"must run forward in the week: write `{last}-{first}`, or two parts")
        days.update(range(start, end + 1))
    return frozenset(days)


def _weekdays(value: str) -> str:
    parse_weekdays(value)
    return value


def _zone(value: str) -> str:
    if value not in available_timezones():
        raise ValueError(f"unknown time zone `{value}`; in India use Asia/Kolkata")
    ZoneInfo(value)
    return value


def _holidays(value: str) -> str:
    from jharnet_monitor.config.calendars import require_calendar  # noqa: PLC0415 - slow to load

    try:
        require_calendar(value)
    except ValueError as error:
        raise ValueError(f"{error}; for Jharkhand use IN-JH") from None
    return value


def split_listen(value: str) -> tuple[str, int]:
    """Split `0.0.0.0:9797` or `[::]:9797` into address and port.

    >>> split_listen("[::]:9797")
    ('::', 9797)
    """
    host, colon, port = value.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not re.fullmatch(r"\d{1,5}", port) or int(port) > 65535 or not bare:
        raise ValueError(f"must be ADDRESS:PORT, such as 0.0.0.0:9797, not `{value}`")
    if ":" in bare and bare == host:
        try:
            IPv6Address(bare)
        except ValueError:
            raise ValueError(f"must be ADDRESS:PORT, such as 0.0.0.0:9797, not `{value}`") from None
        raise ValueError(f"an IPv6 address needs brackets: `[{host}]:{port}`")
    return _address(bare), int(port)


def _listen(value: str) -> str:
    split_listen(value)
    return value


def split_ports(value: str) -> tuple[int, int]:
    """Split `40000-40199` into first and last port.

    >>> split_ports("40000-40199")
    (40000, 40199)
    """
    match = re.fullmatch(r"(\d{1,5})\s*-\s*(\d{1,5})", value)
    if match is None:
        raise ValueError(f"must be FIRST-LAST, such as 40000-40199, not `{value}`")
    first, last = int(match[1]), int(match[2])
    if first > last:
        raise ValueError(f"must begin with the smaller port: `{last}-{first}`")
    if first < 1024 or last > 65535:
        raise ValueError(f"must lie between 1024 and 65535, such as 40000-40199, not `{value}`")
    if last - first < 19:
        raise ValueError(f"must contain at least 20 ports, such as 40000-40199, not `{value}`")
    return first, last


def _ports(value: str) -> str:
    split_ports(value)
    return value


def _turn_address(text: str) -> str:
    if not re.fullmatch(r"turns?:[0-9A-Za-z.:\[\]-]+:[0-9]{1,5}\?transport=(udp|tcp)", text):
        raise ValueError(f"must be like turns:HOST:443?transport=tcp, not {text!r}")
    if text.startswith("turns:") and text.endswith("udp"):
        raise ValueError("browsers know `turns:` with transport=tcp only")
    host, _, port = text.partition("?")[0].partition(":")[2].rpartition(":")
    if ":" not in host and not _has_labels(host):
        raise ValueError(f"must be like turns:HOST:443?transport=tcp, not {text!r}")
    _check_port(port, text)
    return text


def _web_address(value: str) -> str:
    bare = value.rstrip("/")
    if not _WEB.fullmatch(bare):
        raise ValueError(f"must be an address such as https://10.8.0.2:9797, not `{value}`")
    return check_page_address(bare, "https://10.8.0.2:9797")


def check_page_address(value: str, example: str = "https://eoffice.example.in/") -> str:
    """Return the address of a page; raises `ValueError` for one that nothing can fetch."""
    if not _names_host(value) or urlsplit(value).scheme not in ("http", "https"):
        raise ValueError(f"must be an address such as {example}, not `{value}`")
    if not is_one_line(value) or re.search(r"\s", value):
        raise ValueError(f"must be an address without spaces, such as {example}, not `{value}`")
    if "@" in urlsplit(value).netloc:
        raise ValueError("must hold no user and no password: a visit signs in nowhere")
    return value


def check_agent_address(value: str) -> str:
    """Return the address to which an agent connects; raises `ValueError` for one that it cannot."""
    known = value.startswith(("ws://", "wss://")) and not re.search(r"\s", value)
    if not known or not _names_host(value):
        raise ValueError(
            f"must be wss://HOST:9797/agent (or ws:// without TLS), not `{as_one_line(value)}`"
        )
    return value


def _names_host(url: str) -> bool:
    """Whether a URL has a host, and a port if any, that there can be."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:  # brackets that do not close, or no port at all
        return False
    return bool(host) and port != 0 and (":" in str(host) or _has_labels(str(host)))


def _check_port(port: str, value: str) -> None:
    if not 1 <= int(port) <= 65535:
        raise ValueError(f"must have a port from 1 to 65535, not `{value}`")


def _mail(value: str) -> str:
    if not _MAIL.fullmatch(value) or not _has_labels(value.rpartition("@")[2]):
        raise ValueError(f"must be a mail address such as dc-jsr@example.in, not `{value}`")
    return value


def _file_name(value: object) -> object:
    """Refuse a name that `Path` would take for the directory of the configuration file."""
    if isinstance(value, str):
        if not value.strip():
            raise ValueError("must be a file name, and is empty")
        check_line(value)
    return value


def _resolve(path: Path, info: ValidationInfo) -> Path:
    """Resolve a relative path from the directory of the configuration file, if there is one."""
    base = (info.context or {}).get("base")
    return path if base is None else Path(base).absolute() / path


def _database(value: str, info: ValidationInfo) -> str:
    from sqlalchemy.engine import make_url  # noqa: PLC0415 - slow to load
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415

    examples = "sqlite:///monitor.db or postgresql:///jharnet"
    check_line(value)
    try:
        url = make_url(value)
    except (ArgumentError, ValueError) as error:
        # It is not quoted, because it may contain a password.
        raise ValueError(f"must be a database URL such as {examples}") from error
    if url.password is not None:
        raise ValueError("must not contain a password: put it into ~/.pgpass instead")
    for key in url.query:
        if any(word in key.lower() for word in ("password", "secret")):
            raise ValueError(f"must not contain `{key}`: put a password into ~/.pgpass instead")
    kind = _DRIVERS.get(url.drivername)
    if kind is None:
        raise ValueError(f"must be {examples}; `{url.drivername}` is not supported")
    if kind == "sqlite":
        if not url.database or url.database == ":memory:":
            raise ValueError("must name a file, such as sqlite:///monitor.db")
        url = url.set(database=str(_resolve(Path(url.database), info)))
    return url.render_as_string(hide_password=False)


def _more_than_zero(value: float) -> float:
    if value <= 0:
        raise ValueError("must be more than 0")
    return value


def at_least(seconds: float, text: str) -> Callable[[float], float]:
    """A check that a duration is at least `seconds`; messages write it as `text`."""

    def check(value: float) -> float:
        if value < seconds:
            raise ValueError(f"must be at least {text}")
        return value

    return check


Words = Annotated[
    str,
    BeforeValidator(_joined),
    AfterValidator(check_line),
    StringConstraints(min_length=1, max_length=200),
]
"""A text that may be written on several lines; it is printed as one."""
Argument = Annotated[str, StringConstraints(min_length=1, max_length=4000, pattern=r"^[^\x00]*$")]
"""An argument of a command, which may be a script of several lines."""
Text = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(check_line),
]
Identifier = Annotated[str, AfterValidator(check_identifier)]
"""Id of an office or district; part of URLs, metrics and file names."""
Address = Annotated[str, AfterValidator(_device)]
"""An IP address, or a name that is resolved again from time to time."""
TimeOfDay = Annotated[str, BeforeValidator(_unquoted_time), AfterValidator(_clock_time)]
Weekdays = Annotated[str, AfterValidator(_weekdays)]
TimeZone = Annotated[str, AfterValidator(_zone)]
HolidayCalendar = Annotated[str, AfterValidator(_holidays)]
ListenAddress = Annotated[str, AfterValidator(_listen)]
PortRange = Annotated[str, AfterValidator(_ports)]
WebAddress = Annotated[str, AfterValidator(_web_address)]
"""A URL of scheme, host, port and path, without a final `/`."""
AgentAddress = Annotated[Text, AfterValidator(check_agent_address)]
"""A WebSocket's URL (RFC 6455)."""
TurnAddress = Annotated[str, AfterValidator(_turn_address)]
"""The address of a TURN server over one transport (RFC 7065)."""
MailAddress = Annotated[str, AfterValidator(_mail)]
DatabaseUrl = Annotated[str, AfterValidator(_database)]
FilePath = Annotated[Path, BeforeValidator(_file_name), AfterValidator(_resolve)]
ContractedRate = Annotated[Rate, AfterValidator(_more_than_zero)]
"""bit/s, more than 0."""
Interval = Annotated[Duration, AfterValidator(_more_than_zero)]
"""Seconds, more than 0."""
Promise = Annotated[Ratio, AfterValidator(_more_than_zero)]
"""A share, more than 0."""
Count = Annotated[int, Field(strict=True)]
"""A whole number; `yes` is refused."""
Dscp = Annotated[
    int,
    BeforeValidator(_dscp),
    Field(strict=True, ge=0, le=63),
    WithJsonSchema({"anyOf": [
        {"type": "integer", "minimum": 0, "maximum": 63},
        {"type": "string", "enum": list(DSCP_NAMES)},
    ]}),
]  # fmt: skip
"""A mark of packets, by name or number (RFC 2474)."""
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
