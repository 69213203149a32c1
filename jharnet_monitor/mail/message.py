"""Composes mails: text, HTML with inline images, attachments, and a deterministic Message-ID."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage, MIMEPart
from email.policy import SMTP
from email.utils import format_datetime

_POLICY = SMTP.clone(cte_type="7bit")  # not every mail server supports 8BITMIME


@dataclass(frozen=True, slots=True)
class InlineImage:
    """A PNG that the HTML part shows as `cid:NAME`."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Enclosure:
    """An attached file; `type` is its media type."""

    name: str
    type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class MailContent:
    """The content of a mail. `html` may be empty; `root` is the hash chain's root that it gives."""

    subject: str
    text: str
    html: str = ""
    pictures: tuple[InlineImage, ...] = ()
    enclosures: tuple[Enclosure, ...] = ()
    root: str | None = None


@dataclass(frozen=True, slots=True)
class Mailing:
    """One mail of a period: its name in the log, its recipients and its content."""

    name: str
    recipients: tuple[str, ...]
    letter: MailContent


def message_id(name: str, recipients: Iterable[str], sender: str) -> str:
    """The Message-ID (RFC 5322, section 3.6.4): the same for the same mail and recipients.

    >>> message_id("weekly-2026-W47", ["a@b.in", "c@d.in"], "monitor@hub.in")
    '<weekly-2026-W47.4a3acd2e71d5dfa6@hub.in>'
    """
    identity = "\n".join([name, *sorted(set(recipients))])
    digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
    return f"<{name}.{digest}@{sender.rpartition('@')[2]}>"


def compose(
    letter: MailContent, identity: str, sender: str, recipients: Sequence[str], made_at: datetime
) -> bytes:
    """The complete message with CRLF line ends, ready for SMTP."""
    message = EmailMessage(policy=_POLICY)
    message["Subject"] = letter.subject
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Date"] = format_datetime(made_at)
    message["Message-ID"] = identity
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: suppresses automatic replies
    message.set_content(letter.text)
    if letter.html:
        message.add_alternative(letter.html, subtype="html")
        for picture in letter.pictures:
            _html_part(message).add_related(
                picture.content, "image", "png", cid=f"<{picture.name}>",
                disposition="inline", filename=f"{picture.name}.png",
            )  # fmt: skip
    for file in letter.enclosures:
        major, _, minor = file.type.partition("/")
        message.add_attachment(file.content, major, minor, filename=file.name)
    return message.as_bytes()


def _html_part(message: EmailMessage) -> MIMEPart:
    part = message.get_body(("related", "html"))
    if part is None:
        raise ValueError("images need an HTML part")
    return part
