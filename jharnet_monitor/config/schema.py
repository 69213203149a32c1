"""The schema of `jharnet.yaml`: strict, frozen, in base units once read.

The docstring below a key is its description in editors (`config/jharnet.schema.json`) and in the
help.
"""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)

from jharnet_monitor.config.calls import CallCriteria, ConferenceProbe, PlannedDrill
from jharnet_monitor.config.case import CapacitySettings, LetterSettings
from jharnet_monitor.config.district import District
from jharnet_monitor.config.fields import (
    Address,
    Argument,
    ContractedRate,
    Count,
    DatabaseUrl,
    Dscp,
    FilePath,
    Identifier,
    Interval,
    ListenAddress,
    MailAddress,
    Number,
    PortRange,
    Promise,
    Text,
    TimeOfDay,
    WebAddress,
    Words,
    at_least,
    check_page_address,
    split_listen,
    split_ports,
)
from jharnet_monitor.config.routers import Snmp
from jharnet_monitor.config.section import Section
from jharnet_monitor.config.units import Duration, Ratio, Size
from jharnet_monitor.config.updates import UpdateSettings
from jharnet_monitor.model import Direction

LEAST_RETENTION = 92 * 86400.0
"""Seconds for which measurements are always kept, so that a dossier can cover a quarter."""


class Tls(Section):
    """Certificate and key of the hub; `jharnet-monitor tls init` makes both."""

    certificate: FilePath = Field(examples=["tls/hub.pem"])
    """PEM file with the certificate, followed by those that signed it."""
    key: FilePath = Field(examples=["tls/hub.key"])
    """PEM file, mode 600."""


class Uplink(Section):
    """Headquarters' line, which all offices share."""

    contracted: ContractedRate = Field(examples=["34 Mbit/s"])
    """Contracted rate of headquarters' line, in each direction."""
    gateway: Address | None = None
    """First router at headquarters. It still answers when only the line behind it is down."""
    snmp: Snmp | None = None
    """How to read that router's counters for the uplink."""


def _section_or_off(value: object) -> object:
    if value is False or isinstance(value, dict | Tls):
        return value
    if value == "off":  # YAML 1.2, which many editors use, reads off as text
        return False
    raise ValueError("must have `certificate:` and `key:` below it, or be `off`")


def _network(value: str) -> str:
    try:
        ip_network(value)
    except ValueError as error:
        raise ValueError(
            f"must be an address such as 10.8.0.1 or a network such as 10.8.0.0/24, not `{value}`"
        ) from error
    return value


TlsSetting = Annotated[
    Annotated[Tls, Tag("section")]
    | Annotated[Literal[False], Tag("off"), WithJsonSchema({"enum": ["off", False]})],
    Discriminator(lambda value: "off" if value is False else "section"),
    BeforeValidator(_section_or_off),
]
"""Certificate and key, or `off`."""


class HubSettings(Section):
    """The daemon at headquarters."""

    listen: ListenAddress = "0.0.0.0:9797"
    """Address and TCP port for pages, API, metrics and agents."""
    url: WebAddress | None = None
    """Address under which people and offices reach the hub, such as `https://10.8.0.2:9797`. Alerts
    and join links use it. Default: the address in `listen`, else the first name in the
    certificate, else this machine's name."""
    grafana_url: WebAddress | None = None
    """Address of Grafana, such as `http://10.8.0.2:3000`. Alerts link to its dashboards, or without
    it to the hub's own pages."""
    database: Annotated[DatabaseUrl, Field(validate_default=True)] = "sqlite:///monitor.db"
    """`sqlite:///FILE`, or `postgresql://USER@HOST/NAME` (password in ~/.pgpass)."""
    tls: TlsSetting = Field(examples=["{certificate: tls/hub.pem, key: tls/hub.key}"])
    """Certificate and key for `listen`, or `off` where a proxy in front of the hub encrypts."""
    api_token_file: FilePath | None = None
    """File with the token that programs need to change anything over HTTP; it grants all rights.
    Without it and without accounts, nothing can be changed."""
    accounts_file: FilePath | None = None
    """File with the accounts of people (`jharnet-monitor account add NAME`), who sign in with a
    password. If the file is missing, there are no accounts yet."""
    reading: Literal["open", "accounts"] = "open"
    """Who can read pages, API and reports: with `open` everybody who reaches the port, with
    `accounts` those who sign in; `/metrics` then needs the token, except from this machine. Offices
    can join in either case."""
    access_log: Annotated[FilePath, Field(validate_default=True)] = Path("access-log")
    """Directory of the access log, one file a day."""
    access_log_days: Annotated[Count, Field(ge=0, le=3660)] = 180
    """Days for which a log file is kept; CERT-In's directions of 28 April 2022 require 180. 0
    disables the log."""
    trusted_proxies: Annotated[
        tuple[Annotated[str, AfterValidator(_network)], ...], Field(max_length=20)
    ] = ()
    """Addresses or networks of reverse proxies in front of the hub. Only they are believed what
    `X-Forwarded-For`, `-Host` and `-Proto` say of a request. A path in `url` is put before every
    address; the proxy takes it off."""
    udp_ports: PortRange = "40000-40199"
    """UDP ports for conference tests; open them in the firewall."""
    uplink: Uplink = Field(examples=["{contracted: 34 Mbit/s}"])

    @property
    def host(self) -> str:
        """The address to listen on."""
        return split_listen(self.listen)[0]

    @property
    def port(self) -> int:
        """The TCP port to listen on."""
        return split_listen(self.listen)[1]

    @property
    def base(self) -> str:
        """The path of `url`, which a reverse proxy adds before every address; empty for none."""
        return urlsplit(self.url or "").path.rstrip("/")

    @property
    def database_file(self) -> Path | None:
        """The file of an SQLite database. Its URL writes some characters otherwise."""
        from sqlalchemy.engine import make_url  # noqa: PLC0415 - slow to load

        url = make_url(self.database)
        return Path(url.database or "") if url.get_backend_name() == "sqlite" else None

    @property
    def udp_range(self) -> tuple[int, int]:
        """First and last UDP port for conference media, inclusive."""
        return split_ports(self.udp_ports)


class LatencyProbe(Section):
    """Continuous echo requests, summarised in one measurement per `every`."""

    every: Annotated[Duration, AfterValidator(at_least(1, "1s"))] = 60.0
    """Length of one measurement."""
    packets: Annotated[Count, Field(ge=1, le=6000)] = 60
    """Echo requests in one measurement, evenly spaced."""
    timeout: Annotated[Duration, AfterValidator(at_least(0.1, "100ms"))] = 2.0
    """A reply that takes longer counts as lost."""
    dscp: Dscp = 0
    """Mark (DSCP, RFC 2474) of the echo requests: a name such as `EF`, which voice uses, or 0 to
    63."""
    down_after: Annotated[Count, Field(ge=2, le=60)] = 5
    """Consecutive unanswered requests after which an address counts as silent."""
    page_every: Annotated[Duration, AfterValidator(at_least(10, "10s"))] | None = 900.0
    """Interval of a short series of datagrams to an office that takes part by browser, which shows
    loss and jitter there; null for never."""
    up_after: Annotated[Count, Field(ge=1, le=60)] = 2
    """Consecutive replies after which a silent address counts as answering again."""


class BandwidthProbe(Section):
    """Throughput between agent and hub, and between office and a speed-test server on the
    Internet."""

    every: Annotated[Duration, AfterValidator(at_least(10, "10s"))] = 7200.0
    """Interval of the tests that fill the line between office and headquarters."""
    seconds: Annotated[Number, Field(gt=0, le=60)] = 2.5
    """Longest time that one direction of a test may take, in seconds."""
    retest_after: Annotated[Duration, AfterValidator(at_least(1, "1s"))] | None = 60.0
    """Delay after which a test below `thresholds.delivered` is repeated; only the repetition
    counts. null: never, and the first test counts."""
    trains_every: Annotated[Duration, AfterValidator(at_least(10, "10s"))] | None = 1200.0
    """Interval of two short packet trains (50 kB each) that estimate the line's capacity, to detect
    a drop between full tests; null for never."""
    internet_every: Annotated[Duration, AfterValidator(at_least(10, "10s"))] | None = 86400.0
    """Interval of the tests of an office's path to the Internet; null for never."""
    headquarters_every: Annotated[Duration, AfterValidator(at_least(60, "60s"))] | None = 86400.0
    """Interval of the tests of headquarters' own path to the Internet, which fill the uplink for a
    few seconds; null for never."""
    internet_server: Text | None = None
    """Address of your own speed-test server; null for a nearby public one."""
    internet_method: Literal["ookla", "http", "librespeed", "iperf3"] = "ookla"
    """How that server measures: `ookla` (speedtest.net's protocol), `http` (the address of a large
    file; download only), `librespeed` (the address of its `backend` folder), or `iperf3`
    (`host:port`; the program iperf3 must be installed at the office)."""


class UtilisationProbe(Section):
    """Traffic counters of the routers of every office (and the uplink) with `snmp:`."""

    every: Annotated[Duration, AfterValidator(at_least(60, "60s"))] = 300.0
    """Interval at which the counters are read; a rate is the mean between two readings."""


class Service(Section):
    """One web service that offices use."""

    name: Identifier = Field(examples=["e-office"])
    """Lower-case letters, digits and hyphens. Identifies the service in metrics and
    measurements."""
    url: Annotated[str, AfterValidator(check_page_address)] = Field(
        examples=["https://eoffice.example.in/"]
    )
    """Address of the page, `http://` or `https://`."""
    expect: Text | None = None
    """Text that the page must contain, so that an error page is not taken for the service."""
    hosts: Annotated[tuple[Address, ...], Field(max_length=20)] = ()
    """Other hosts to which the page may redirect, such as that of a sign-in. A visit follows
    redirects to its own host and to these, never from https to http."""
    ca: FilePath | None = None
    """PEM certificate of the authority that signed the service's, if that is not a public one."""


class ServiceProbe(Section):
    """Web services, each visited from every office with an agent and from headquarters."""

    every: Annotated[Duration, AfterValidator(at_least(60, "60s"))] = 900.0
    """How often each service is visited."""
    timeout: Annotated[Duration, AfterValidator(at_least(1, "1s")), Field(le=120)] = 30.0
    """Longest time that a visit may take."""
    slow: Annotated[Duration, AfterValidator(at_least(0.1, "100ms"))] = 5.0
    """Time above which a page counts as slow."""
    ready: Annotated[Ratio, Field(gt=0)] = 0.95
    """An office is ready for a service if at least this share of its visits in office hours got the
    page within `slow`."""
    most: Annotated[Size, Field(ge=10_000, le=5_000_000)] = 500_000
    """Largest number of bytes read of a page; they count in the budget."""
    services: Annotated[tuple[Service, ...], Field(max_length=20)] = ()
    """Such as e-Office, JharSewa, CSC, the district's site; by default none."""

    @model_validator(mode="after")
    def _names_differ(self) -> ServiceProbe:
        names = [service.name for service in self.services]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"every service needs a name of its own, and {twice[0]} is there twice"
            )
        return self


class HopName(Section):
    """A router on the path, or all routers of a network."""

    address: Annotated[str, AfterValidator(_network)] = Field(examples=["10.8.0.1"])
    """Its address, or a network such as `10.8.0.0/24`; the first matching entry is used."""
    name: Text = Field(examples=["Jamshedpur gateway"])
    """Name shown to people."""
    owner: Text | None = None
    """Who is responsible for it: the operator, the state, the district."""


class PathProbe(Section):
    """The path to each office and back, by traceroute: hops, loss, delay, packet size, marks."""

    every: Annotated[Duration, AfterValidator(at_least(60, "60s"))] | None = 1800.0
    """Interval; null to trace only on request."""
    rounds: Annotated[Count, Field(ge=5, le=600)] = 60
    """Packets to every hop; three times as many if packets are lost."""
    spacing: Annotated[Duration, AfterValidator(at_least(0.02, "20ms"))] = 1.0
    """Time between two packets to one hop. Many routers answer at most once a second. Below half a
    second, tests wait for the whole trace.
    """
    timeout: Annotated[Duration, AfterValidator(at_least(0.1, "100ms")), Field(le=5)] = 2.0
    """An answer that takes longer counts as lost."""
    marks: Annotated[tuple[Dscp, ...], Field(max_length=4)] = (46, 34)
    """Marks (DSCP) to test for arrival: `EF` for voice, `AF41` for video.
    """
    hops: Annotated[tuple[HopName, ...], Field(max_length=500)] = ()
    """Names and owners of the routers on the path."""


class Probes(Section):
    """What is measured, and how often."""

    latency: LatencyProbe = LatencyProbe()
    bandwidth: BandwidthProbe = BandwidthProbe()
    conference: ConferenceProbe = ConferenceProbe()
    drill: PlannedDrill = PlannedDrill()
    path: PathProbe = PathProbe()
    service: ServiceProbe = ServiceProbe()
    utilisation: UtilisationProbe = UtilisationProbe()


class ChangeCriteria(Section):
    """Smallest changes that are reported; smaller ones are ignored, however certain they are."""

    speed: Ratio = 0.05
    """Of the delivered speed, as a share of the contracted rate."""
    grade: Annotated[Number, Field(gt=0, le=4)] = 0.5
    """Of the mean conference grade."""


class Thresholds(Section):
    """The limits of a good line. Metrics export them, and alert rules compare with them."""

    loss: Ratio = 0.02
    """Packet loss, over 15 minutes."""
    rtt: Duration = 0.3
    """Median round-trip time."""
    jitter: Duration = 0.04
    """One-way interarrival jitter (RFC 3550), as conference vendors state it. Round trips vary by a
    factor of √2 more if both directions vary alike; the alert allows for that."""
    delivered: Ratio = 0.8
    """Share of the contracted rate that must be delivered."""
    framing: Annotated[Ratio, Field(le=0.3)] = 0.03
    """Share of the contracted rate that framing and tunnels take: 2.5 % on Ethernet, 6.5 % with
    IPsec or GRE. The delivered rate may be lower by this share before the contract counts as
    broken."""
    grade: Annotated[Count, Field(ge=0, le=4)] = 3
    """Conference grade that every office should reach: 4 HD, 3 SD, 2 low-quality video, 1 audio."""
    loaded_rtt: Duration = 1.0
    """Round-trip time while a test fills the line."""
    outage: Duration = 120.0
    """An office that has not answered for this long raises an alert."""
    flapping: Annotated[Count, Field(ge=2)] = 3
    """Number of outages of an office within half an hour that raises an alert, however short they
    are."""
    call: CallCriteria = CallCriteria()
    """What a conference call needs for each grade."""
    availability: Promise = 0.99
    """Availability that every office should reach, unless its contract promises another."""
    restore_within: Interval = 4 * 3600.0
    """Time in which the operator must restore a line after a fault is reported, unless the contract
    promises another. Longer outages of the line are proposed for the fault ledger."""
    change: ChangeCriteria = ChangeCriteria()
    """Smallest changes that a report calls better or worse."""


class Link(Section):
    """The contract of an office's line."""

    contracted: ContractedRate = Field(examples=["4 Mbit/s"])
    """Rate towards the office; also from it, unless `contracted_up` is set."""
    contracted_up: ContractedRate | None = None
    """Rate from the office."""
    kind: Text | None = None
    """Such as leased-line, fibre, radio or vsat."""
    sla: Promise | None = None
    """Availability that the operator promises."""
    failover: Annotated[bool, Field(strict=True)] | None = None
    """Whether there is a second line as a backup; the state's e-Office assessment asks for this."""
    restore_within: Interval | None = None
    """Time in which the operator promises to restore the line; default:
    `thresholds.restore_within`."""

    def rate(self, direction: Direction) -> float:
        """The contracted rate in that direction, in bit/s."""
        if direction is Direction.UP and self.contracted_up is not None:
            return self.contracted_up
        return self.contracted


class AgentAccess(Section):
    """How an office's agent authenticates."""

    token_hash_file: FilePath = Field(examples=["secrets/potka"])
    """File made by `jharnet-monitor token OFFICE`; it contains only the token's hash."""


class Office(Section):
    """One block office, with at least one address."""

    id: Identifier = Field(examples=["potka"])
    """Lower-case letters, digits and hyphens; part of URLs, metrics and file names. Measurements
    are stored under it, so do not change it."""
    name: Text = Field(examples=["Potka"])
    """Name in English."""
    name_hi: Text = Field(examples=["पोटका"])
    """Name in Hindi."""
    subdivision: Text | None = None
    """Subdivision of the district, such as Dhalbhum."""
    latitude: Annotated[Number, Field(ge=-90, le=90)] | None = None
    """Degrees north; for the map."""
    longitude: Annotated[Number, Field(ge=-180, le=180)] | None = None
    """Degrees east."""
    router: Address | None = None
    """The office's JharNet router, which answers while line and power work."""
    pc: Address | None = None
    """A PC behind the router, to detect faults of the office's own network."""
    snmp: Snmp | None = None
    """How to read the router's traffic counters and uptime."""
    link: Link | None = None
    """The line's contract; without it speeds are not compared with one."""
    agent: AgentAccess | None = None
    """The office's agent; without one only latency is measured."""
    seats: Annotated[Count, Field(ge=0, le=10_000)] | None = None
    """Desks that use e-Office; default `capacity.seats`."""

    @model_validator(mode="after")
    def _has_an_address(self) -> Office:
        if self.router is None and self.pc is None:
            raise ValueError("needs at least one address: add `router:` or `pc:`")
        return self

    def name_in(self, language: str) -> str:
        """The office's name in a language of the reports, `hi` or `en`."""
        return self.name_hi if language == "hi" else self.name


class Smtp(Section):
    """The mail server; its password is in a file of its own."""

    host: Address = Field(examples=["smtp.example.in"])
    """Name or address of the mail server."""
    port: Annotated[Count, Field(ge=1, le=65535)] = 587
    """Its TCP port."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    """`starttls` on port 587, `tls` on port 465; `none` only on the machine itself."""
    user: Text | None = None
    """Account on the server; without it the hub does not log in."""
    password_file: FilePath | None = None
    """File with the account's password, mode 600."""
    ca: FilePath | None = None
    """PEM certificate of the server's authority, if that is not a public one."""
    sender: MailAddress = Field(default="jharnet-monitor@localhost", alias="from")
    """Sender of the mails."""


class ReportSettings(Section):
    """The weekly report: languages and recipients."""

    languages: Annotated[tuple[Literal["hi", "en"], ...], Field(min_length=1)] = ("hi", "en")
    """Languages of the report; the first is also the default language of the pages."""
    to: tuple[MailAddress, ...] = ()
    """Recipients of the weekly report."""
    day: Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"] = "mon"
    """Day on which the previous week's report is written and sent."""
    at: TimeOfDay = "08:00"
    """Time of that day, in quotes."""
    roots_to: tuple[MailAddress, ...] = ()
    """Recipients outside the office of the week's root hash, which later proves that no record was
    changed."""
    smtp: Smtp | None = None
    """The mail server; without it nothing is mailed."""
    directory: Annotated[FilePath, Field(validate_default=True)] = Path("reports")
    """Directory of the reports, which the hub's page `/reports` lists."""
    directive: Words | None = None
    """The directive behind the report (what, by whom, when), in English; printed on page one."""
    directive_hi: Words | None = None
    """The directive in Hindi."""
    prepared_by: Text | None = None
    """Who prepares the report, in English, as printed on page one; default: the network engineer
    of the district."""
    prepared_by_hi: Text | None = None
    """Who prepares the report, in Hindi."""

    def prepared_by_in(self, language: str) -> str | None:
        """Who prepares the report, in a language of the reports."""
        return self.prepared_by_hi if language == "hi" else self.prepared_by

    def directive_in(self, language: str) -> str | None:
        """What was ordered, in a language of the reports."""
        return self.directive_hi if language == "hi" else self.directive


class RetentionSettings(Section):
    """How long measurements are kept. Bandwidth, conference, outages and drills are kept for
    ever."""

    raw: Annotated[Duration, AfterValidator(at_least(LEAST_RETENTION, "92d"))] = 400 * 86400.0
    """Minute measurements; for each older day a daily summary remains."""


class BackupSettings(Section):
    """The nightly backup of the hub: database, configuration, secrets, certificates, papers."""

    directory: Annotated[FilePath, Field(validate_default=True)] = Path("backups")
    """Directory of the backups, a folder each. They hold the hub's secrets."""
    at: TimeOfDay = "02:30"
    """Time of day, in quotes. A backup that became due while the hub was down is made at once."""
    keep: Annotated[Count, Field(ge=1, le=400)] = 3
    """How many backups stay in the directory."""
    ship: Annotated[tuple[Argument, ...], Field(max_length=40)] = Field(
        default=(), examples=['[rsync, -a, "{backup}", "standby.example.in:/srv/jharnet/"]']
    )
    """Command that takes the backup to another machine, as a list of words; `{backup}` stands for
    its folder. Without it the backup stays on this machine."""

    @model_validator(mode="after")
    def _names_the_backup(self) -> BackupSettings:
        if self.ship and not any("{backup}" in word for word in self.ship):
            raise ValueError("`ship` must name the backup: write `{backup}` where its folder goes")
        return self


class StateSettings(Section):
    """The state, to which this hub sends its judgements of each week, signed."""

    url: WebAddress = Field(examples=["https://state.example.in:9898"])
    """Address of the state's receiver (`jharnet-monitor state receive`)."""
    key_file: FilePath = Field(examples=["secrets/state.key"])
    """The hub's private key, made by `jharnet-monitor state key`; its public part is registered at
    the state."""
    ca: FilePath | None = None
    """PEM certificate of the receiver's authority, if that is not a public one."""


class Config(Section):
    """The whole file."""

    district: District = Field(examples=["{id: east-singhbhum, ...}"])
    hub: HubSettings = Field(examples=["{listen: 0.0.0.0:9797, ...}"])
    probes: Probes = Probes()
    budget: Size = 300_000_000
    """Bytes per day and office for all bandwidth tests, conference tests and drills."""
    thresholds: Thresholds = Thresholds()
    offices: Annotated[tuple[Office, ...], Field(min_length=1, examples=["[{id: potka, ...}]"])]
    """The block offices, in the order in which pages and reports list them."""
    report: ReportSettings = ReportSettings()
    retention: RetentionSettings = RetentionSettings()
    updates: UpdateSettings = Field(default={}, validate_default=True)
    capacity: CapacitySettings = CapacitySettings()
    letter: LetterSettings = LetterSettings()
    backup: BackupSettings | None = None
    state: StateSettings | None = None

    @property
    def waiting_file(self) -> Path:
        """Where records wait that the database does not take: beside an SQLite database, else
        beside the reports."""
        file = self.hub.database_file
        return Path(f"{file}-waiting") if file else self.report.directory / "waiting.db"

    @property
    def sessions_file(self) -> Path:
        """Which browsers are signed in, for the time after a restart; beside `waiting_file`."""
        file = self.hub.database_file
        return Path(f"{file}-sessions") if file else self.report.directory / "sessions"

    def office(self, office_id: str) -> Office:
        """The office with this id; raises `KeyError` that lists the known ids."""
        for office in self.offices:
            if office.id == office_id:
                return office
        known = ", ".join(o.id for o in self.offices)
        raise KeyError(f"no office `{office_id}`; the configuration has {known}")
