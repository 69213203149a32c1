"""The mail server: sign in over TLS and deliver messages, one recipient per transaction.

The server's reply then concerns that recipient only, and a mail that one recipient cannot get is
not sent to the others again.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiosmtplib
from aiosmtplib import (
    SMTPException,
    SMTPRecipientsRefused,
    SMTPResponseException,
)

from jharnet_monitor.config.schema import Smtp
from jharnet_monitor.errors import UserError
from jharnet_monitor.security.tokens import read_secret

ANSWER_SECONDS = 60.0
DATA_SECONDS = 600.0
"""A server may take ten minutes to answer the end of a message (RFC 5321, section 4.5.3.2.6); a
client that hangs up earlier causes duplicates (RFC 1047)."""


class MailError(Exception):
    """A mail was not accepted; `for_good` if the server replied with a code of 500 or more."""

    def __init__(self, message: str, *, for_good: bool = False) -> None:
        super().__init__(message)
        self.for_good = for_good


class ServerError(MailError):
    """The server cannot be reached or refused the login: no mail can be sent now."""


class MailServer:
    """A connection to the mail server."""

    def __init__(self, client: aiosmtplib.SMTP) -> None:
        self._client = client

    async def send(self, message: bytes, sender: str, recipient: str) -> None:
        """Send a message; returns after the server's 250 reply. Raises `MailError`."""
        try:
            await self._client.sendmail(sender, [recipient], message, timeout=DATA_SECONDS)
        except SMTPRecipientsRefused as error:
            raise _refusal(error.recipients[0]) from error
        except SMTPResponseException as error:
            raise _refusal(error) from error
        except (SMTPException, OSError) as error:
            raise ServerError(f"the mail server closed the connection: {error}") from error


@asynccontextmanager
async def mail_server(settings: Smtp) -> AsyncIterator[MailServer]:
    """Connect and sign in; raises `ServerError`."""
    client = aiosmtplib.SMTP(
        hostname=settings.host,
        port=settings.port,
        use_tls=settings.security == "tls",
        start_tls=settings.security == "starttls",
        tls_context=_trust(settings) if settings.security != "none" else None,
        username=settings.user,
        password=_password(settings),
        timeout=ANSWER_SECONDS,
    )
    address = f"{settings.host}:{settings.port}"
    try:
        await client.connect()
    except SMTPResponseException as error:
        raise ServerError(f"{address}: {error.code} {error.message}") from error
    except (SMTPException, OSError) as error:
        raise ServerError(f"{address}: {error}") from error
    try:
        yield MailServer(client)
    finally:
        await _leave(client)


async def _leave(client: aiosmtplib.SMTP) -> None:
    try:
        await client.quit(timeout=5)
    except (SMTPException, OSError):
        client.close()


def _trust(settings: Smtp) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.ca)
    except (OSError, ssl.SSLError) as error:
        raise ServerError(f"report.smtp.ca: {settings.ca}: {error}") from error


def _password(settings: Smtp) -> str | None:
    if settings.password_file is None:
        return None
    try:
        return read_secret(settings.password_file)
    except UserError as error:
        raise ServerError(f"report.smtp.password_file: {error}") from error


def _refusal(error: SMTPResponseException) -> MailError:
    return MailError(f"{error.code} {error.message}", for_good=error.code >= 500)
