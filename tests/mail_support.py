"""A real mail server in a thread, with TLS and login, whose replies a test chooses."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.config import Config
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.config.schema import ReportSettings
from jharnet_monitor.judge.calendar.period import Period
from jharnet_monitor.live import HubStatus
from jharnet_monitor.mail.message import MailContent, Mailing
from jharnet_monitor.mail.schedule import ReportScheduler
from jharnet_monitor.report.output.files import OutputFile
from jharnet_monitor.security.tls import Files, make_authority, make_certificate, server_context
from jharnet_monitor.store import Store
from tests import made_up_week
from tests.made_up_week import WEEK

USER, PASSWORD = "monitor", "correct horse"
DC, DIO, NIC = "dc@example.in", "dio@example.in", "nic@elsewhere.in"
MONDAY = WEEK.end + timedelta(hours=8)
Answer = Callable[[str], str]
"""Gives the server's reply for a recipient; "250 OK" accepts it."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message that the server accepted, for one recipient."""

    recipient: str
    message: EmailMessage

    @property
    def identity(self) -> str:
        """Its Message-ID."""
        return str(self.message["Message-ID"])


def free_port() -> int:
    """A free TCP port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _take(recipient: str) -> str:
    return "250 OK"


@dataclass(slots=True)
class MailHost:
    """The server. `on_recipient` answers RCPT TO, `on_message` the end of a message."""

    directory: Path
    port: int = field(default_factory=free_port)
    on_recipient: Answer = _take
    on_message: Answer = _take
    inbox: list[Received] = field(default_factory=list)
    _controller: Any = None

    @property
    def ca(self) -> Path:
        """The certificate of the authority that signed the server's certificate."""
        return Files(self.directory).authority

    def start(self) -> None:
        """Listen on a loopback port, the same after a stop; clients must use TLS and log in."""
        files = Files(self.directory)
        if not files.authority.exists():
            now = datetime.now(UTC)
            make_authority(files, "mail", now)
            make_certificate(files, ["localhost"], [IPv4Address("127.0.0.1")], now)
        context = server_context(files)
        context.verify_mode = ssl.CERT_NONE
        self._controller = Controller(
            self, hostname="127.0.0.1", port=self.port, tls_context=context,
            require_starttls=True, auth_required=True, authenticator=_sign_in,
            data_size_limit=50_000_000, ready_timeout=120,
        )  # fmt: skip
        self._controller.start()

    def stop(self) -> None:
        """Refuse connections from now on."""
        self._controller.stop()

    def of(self, recipient: str) -> list[Received]:
        """The messages that one recipient got."""
        return [one for one in self.inbox if one.recipient == recipient]

    async def handle_RCPT(  # noqa: N802 - aiosmtpd calls it so
        self, server: SMTP, session: object, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """RCPT TO."""
        answer = self.on_recipient(address)
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(  # noqa: N802
        self, server: SMTP, session: object, envelope: Envelope
    ) -> str:
        """The end of a message."""
        [recipient] = envelope.rcpt_tos
        answer = self.on_message(recipient)
        if answer.startswith("250"):
            content = cast(bytes, envelope.content)
            message = message_from_bytes(content, policy=policy.default)
            self.inbox.append(Received(recipient, message))
        return answer


def _sign_in(
    server: SMTP, session: object, envelope: Envelope, mechanism: str, login: LoginPassword
) -> AuthResult:
    return AuthResult(success=(login.login, login.password) == (USER.encode(), PASSWORD.encode()))


@dataclass(slots=True)
class MailingHub:
    """A stand-in for the hub: a store, a manual clock, and a small report."""

    directory: Path
    host: MailHost
    to: tuple[str, ...] = (DC, DIO)
    clock: ManualClock = field(default_factory=lambda: ManualClock(MONDAY - timedelta(days=3)))
    health: HubStatus = field(default_factory=HubStatus)
    made: list[str] = field(default_factory=list)
    trouble: Exception | None = None

    def config(self) -> Config:
        """The made-up district, with the test's mail server."""
        password = self.directory / "password"
        password.touch(mode=0o600)
        password.write_text(PASSWORD)
        base = made_up_week.config(f"sqlite:///{self.directory / 'monitor.db'}")
        settings = {
            "to": self.to, "roots_to": [NIC], "directory": str(self.directory / "reports"),
            "smtp": {"host": "127.0.0.1", "port": self.host.port, "user": USER,
                     "ca": str(self.host.ca), "password_file": str(password), "from": "jhn@hub.in"},
        }  # fmt: skip
        return base.model_copy(update={"report": ReportSettings.model_validate(settings)})

    def start(self) -> ReportScheduler:
        """A report scheduler as of a new process, on the same files."""
        config = self.config()
        store = Store(config.hub.database, self.clock)
        store.migrate()
        return ReportScheduler(CurrentConfig(config), store, self.clock, self.health, self.make)

    def make(
        self, store: Store, config: Config, period: Period, now: datetime
    ) -> tuple[list[Mailing], list[OutputFile]]:
        """Make a report of one line."""
        if self.trouble is not None:
            raise self.trouble
        self.made.append(period.name)
        report = Mailing(
            period.stem, config.report.to, MailContent(f"Report {period.name}", "हाँ\n")
        )
        root = Mailing(
            f"root-{period.name}", config.report.roots_to, MailContent("Root", "r", root="r")
        )
        file = OutputFile(f"{period.stem}.en.pdf", "en", "pdf", b"%PDF")
        return [one for one in (report, root) if one.recipients], [file]
