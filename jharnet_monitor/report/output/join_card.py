"""A card with an office's join link: a page in Hindi and English with a QR code, to be handed over.

Whoever holds the card can measure in the office's name, so a card says so and is made only when its
token is made: the hub keeps no token, only its hash.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import segno

from jharnet_monitor.config import Config, Office
from jharnet_monitor.i18n.words import LANGUAGES, words
from jharnet_monitor.report.output.pdf import render_pdf


@dataclass(frozen=True, slots=True)
class JoinLink:
    """An office and the link with its token."""

    office: str
    link: str


def card_sheet(links: Iterable[JoinLink], config: Config, made_at: datetime) -> bytes:
    """A PDF with a page for each link; raises `TypesettingError`."""
    cards = [_card(config.office(one.office), one.link, config) for one in links]
    title = words("en")("card.title")
    data = {
        "title": title, "subtitle": title, "author": "jharnet-monitor", "language": "hi",
        "cards": cards,
    }  # fmt: skip
    return render_pdf("card.typ", data, made_at)


def card_for(office: str, link: str, config: Config, made_at: datetime) -> bytes:
    """The PDF of one card; raises `TypesettingError`."""
    return card_sheet([JoinLink(office, link)], config, made_at)


def _card(office: Office, link: str, config: Config) -> dict[str, Any]:
    """What one page shows: plain JSON."""
    return {
        "link": link,
        "qr": qr_rows(link),
        "texts": [_texts(office, config, language) for language in LANGUAGES],
    }


def _texts(office: Office, config: Config, language: str) -> dict[str, Any]:
    t, contact = words(language), config.district.contact
    call = ""
    if contact is not None:
        parts = (contact.name_in(language), contact.phone, contact.email)
        call = t("card.call", whom=", ".join(part for part in parts if part))
    return {
        "language": language,
        "office": office.name_in(language),
        "district": t("web.place", district=config.district.name_in(language)),
        "title": t("card.title"),
        "do": t("card.do", button=t("join.button")),
        "leave": t("card.leave"),
        "scan": t("card.scan"),
        "secret": t("card.secret"),
        "call": call,
    }


def qr_rows(text: str) -> list[str]:
    """The modules of a QR code (ISO/IEC 18004) that a damaged print still shows, row by row.

    >>> rows = qr_rows("https://10.8.0.2:9797/join/potka#t=x")
    >>> len(rows) == len(rows[0]), rows[0][:7]
    (True, '1111111')
    """
    code = segno.make_qr(text, error="m")
    return ["".join(str(module) for module in row) for row in code.matrix]
