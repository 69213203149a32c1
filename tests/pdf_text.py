"""Reads the text of a PDF as a careful reader does: `/ActualText` where it is given."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from io import BytesIO
from typing import Any

from pypdf import PageObject, PdfReader
from pypdf.generic import ContentStream


def text_of(pdf: bytes) -> str:
    """All text in reading order, normalised (NFC), without any space.

    Spaces are left out because a PDF only has gaps, and each reader guesses at them.
    """
    return "".join(pages_of(pdf))


def pages_of(pdf: bytes) -> list[str]:
    """The same, page by page."""
    reader = PdfReader(BytesIO(pdf))
    return [plain("".join(_page(page, reader))) for page in reader.pages]


def plain(text: str) -> str:
    """A text as `text_of` gives it: NFC, without any space."""
    return "".join(unicodedata.normalize("NFC", text).split())


def _page(page: PageObject, reader: PdfReader) -> Iterator[str]:
    fonts: dict[str, dict[bytes, str]] = {}
    resources: Any = page["/Resources"]
    for name, font in resources.get("/Font", {}).items():
        fonts[name] = _characters(font.get_object()["/ToUnicode"].get_data().decode("latin1"))
    contents = page.get_contents()
    if contents is None:
        return
    current: dict[bytes, str] = {}
    spans: list[bool] = []
    for operands, operator in ContentStream(contents, reader).operations:
        if operator == b"BDC":
            message = operands[1].get("/ActualText") if isinstance(operands[1], dict) else None
            spans.append(message is not None)
            if message is not None:
                yield str(message)
        elif operator == b"BMC":
            spans.append(False)
        elif operator == b"EMC":
            spans.pop()
        elif operator == b"Tf":
            current = fonts[operands[0]]
        elif operator in (b"Tj", b"TJ") and not any(spans):
            parts = operands[0] if operator == b"TJ" else [operands[0]]
            yield "".join(_decoded(part, current) for part in parts if not _is_number(part))


def _is_number(part: Any) -> bool:
    return isinstance(part, int | float) or hasattr(part, "as_numeric")


def _decoded(part: Any, characters: dict[bytes, str]) -> str:
    raw = part.original_bytes if hasattr(part, "original_bytes") else bytes(part)
    return "".join(characters.get(raw[i : i + 2], "") for i in range(0, len(raw), 2))


def _characters(cmap: str) -> dict[bytes, str]:
    """The text of each two-byte glyph code, from a ToUnicode map."""
    found: dict[bytes, str] = {}
    for block in re.findall(r"beginbfchar(.*?)endbfchar", cmap, re.DOTALL):
        for code, text in re.findall(r"<([0-9A-Fa-f]+)>\s*<([0-9A-Fa-f]+)>", block):
            found[bytes.fromhex(code)] = bytes.fromhex(text).decode("utf-16-be")
    for block in re.findall(r"beginbfrange(.*?)endbfrange", cmap, re.DOTALL):
        for low, high, text in re.findall(r"<(\w+)>\s*<(\w+)>\s*<(\w+)>", block):
            for offset in range(int(low, 16), int(high, 16) + 1):
                step = offset - int(low, 16)
                character = chr(int(text, 16) + step)
                found[offset.to_bytes(2, "big")] = character
    return found
