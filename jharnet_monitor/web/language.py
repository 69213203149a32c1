"""Chooses the language of a page: the reader's choice, else the browser's."""

from __future__ import annotations

from aiohttp import web

from jharnet_monitor.i18n.words import LANGUAGES

COOKIE = "jharnet_lang"
_YEAR = 365 * 86400


def choose_language(request: web.Request, default: str) -> str:
    """`?lang=`, else the cookie, else Accept-Language, else the default."""
    for chosen in (request.query.get("lang"), request.cookies.get(COOKIE)):
        if chosen in LANGUAGES:
            return chosen
    return accepted(request.headers.get("Accept-Language", "")) or default


def remember_language(request: web.Request, response: web.Response) -> None:
    """Store a choice made with `?lang=` in a cookie."""
    chosen = request.query.get("lang")
    if chosen in LANGUAGES:
        response.set_cookie(COOKIE, chosen, max_age=_YEAR, samesite="Lax", httponly=True)


def accepted(header: str) -> str | None:
    """The available language that a browser prefers (RFC 9110, 12.5.4).

    >>> accepted("en-IN,en;q=0.9,hi;q=0.8"), accepted("hi-IN, en;q=0.5"), accepted("fr")
    ('en', 'hi', None)
    """
    best: str | None = None
    highest = 0.0
    for entry in header[:500].split(","):
        tag, _, quality = entry.strip().partition(";q=")
        language = tag.split("-")[0].lower()
        try:
            weight = float(quality) if quality else 1.0
        except ValueError:
            continue
        if language in LANGUAGES and weight > highest:
            best, highest = language, weight
    return best
