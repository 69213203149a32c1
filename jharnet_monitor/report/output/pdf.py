"""Typesets PDF/A-3b with Typst and the packaged font, independently of the machine."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import Any, Literal

import fontpkg_noto_sans_devanagari as font  # type: ignore[import-untyped]
import typst

from jharnet_monitor.report.output.files import TypesettingError

log = logging.getLogger(__name__)

_Standard = Literal["a-3b"]
STANDARD: _Standard = "a-3b"
_SHARED = ("common.typ", "charts.typ", "use.typ")
_TEMPLATES = files("jharnet_monitor.report") / "templates"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A CSV file attached to the PDF; Typst accepts files from memory only in UTF-8."""

    name: str
    title: str
    content: bytes


def render_pdf(
    template: str,
    data: Mapping[str, Any],
    made_at: datetime,
    attachments: Sequence[Attachment] = (),
) -> bytes:
    """Typeset a template of this package (`weekly.typ`); the same data give the same bytes.

    A glyph that the font does not have violates PDF/A; the document is then typeset as plain PDF,
    with a warning in the log. Raises `TypesettingError`.
    """
    sources = _sources(template, data, attachments)
    try:
        return _compile(sources, made_at, STANDARD)
    except typst.TypstError as error:
        strict = error
    try:
        pdf = _compile(sources, made_at, None)
    except typst.TypstError as error:
        raise TypesettingError(_explained(template, error)) from error
    log.warning("%s was typeset as plain PDF, not as PDF/A-3b: %s", template, strict.message)
    return pdf


def render_png(template: str, data: Mapping[str, Any], made_at: datetime) -> bytes:
    """Typeset a template of one page (`mail.typ`) as PNG; raises `TypesettingError`."""
    try:
        return _compile(_sources(template, data, ()), made_at, None, "png")
    except typst.TypstError as error:
        raise TypesettingError(_explained(template, error)) from error


def _sources(
    template: str, data: Mapping[str, Any], attachments: Sequence[Attachment]
) -> dict[str, bytes]:
    try:
        sources = {name: (_TEMPLATES / name).read_bytes() for name in _SHARED}
        sources["main.typ"] = (_TEMPLATES / template).read_bytes()
    except OSError as error:
        raise TypesettingError(f"{template}: cannot be read: {error.strerror}") from error
    listed = [{"name": each.name, "title": each.title} for each in attachments]
    sources["report.json"] = _json(dict(data) | {"attached": listed})
    sources |= {f"attached/{each.name}": each.content for each in attachments}
    return sources


def _json(data: Any) -> bytes:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()


def _explained(template: str, error: typst.TypstError) -> str:
    """The message with file, line and column, if Typst gives them."""
    place = re.search(r"┌─ (\S+)", error.diagnostic)
    where = place[1].replace("main.typ", template) if place else template
    return f"{where}: {error.message}"


def _compile(
    sources: dict[str, bytes],
    made_at: datetime,
    standard: _Standard | None,
    kind: Literal["pdf", "png"] = "pdf",
) -> bytes:
    """Compile; a warning is an error, since Typst only warns about an unknown font name."""
    compiler: Any = typst.Compiler(  # type: ignore[misc] # its stub lacks input of several files
        sources,
        font_paths=[str(font.ROOT)],
        ignore_system_fonts=True,
    )
    document, warnings = compiler.compile_with_warnings(
        format=kind, pdf_standards=standard, timestamp=int(made_at.timestamp())
    )
    if warnings:
        raise TypesettingError("; ".join(warning.message for warning in warnings))
    if not isinstance(document, bytes):
        raise TypesettingError(
            f"Typst gave {type(document).__name__} instead of one {kind.upper()}"
        )
    return document
