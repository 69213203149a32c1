"""The pages of the help: their order, their titles and their text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

INDEX = "README"
"""The page at `/help/`; a code host shows it for the folder."""

NAMES = (
    INDEX,
    "quickstart",
    "install",
    "state",
    "operator",
    "samples",
    "runbook",
    "causes",
    "configuration",
    "commands",
    "http",
    "metrics",
    "method",
    "conference",
    "accuracy",
    "agreement",
    "limits",
    "certificate",
    "security",
    "accessibility",
    "architecture",
)
"""Every page, in the order in which they are listed."""

PICTURES = (
    "architecture.svg",
    "sample-faults.png",
    "sample-letter.png",
    "sample-report.png",
    "sample-status.png",
)
"""Files that pages show."""

_FOLDER = files("jharnet_monitor.help")
_PROBES = files("jharnet_monitor").joinpath("probes")
_MARK = re.compile(r"<!-- probes: .*? -->")


@dataclass(frozen=True, slots=True)
class Page:
    """One page in one language. `text` is Markdown and begins with the title."""

    name: str
    language: str
    text: str

    @property
    def title(self) -> str:
        """The first heading."""
        found = re.search(r"^# (.+)$", self.text, re.MULTILINE)
        return found[1] if found else self.name

    @property
    def address(self) -> str:
        """Where the hub serves it."""
        return address(self.name)


def address(name: str) -> str:
    """Where the hub serves a page.

    >>> address("runbook"), address(INDEX)
    ('/help/runbook', '/help/')
    """
    return "/help/" if name == INDEX else f"/help/{name}"


def page(name: str, language: str) -> Page:
    """A page in Hindi where there is one, else in English; `KeyError` for an unknown name."""
    if name not in NAMES:
        raise KeyError(name)
    if language == "hi" and (hindi := _read(f"{name}.hi.md")) is not None:
        return Page(name, "hi", hindi)
    return Page(name, "en", _with_probes(_read(f"{name}.md") or ""))


def _with_probes(text: str) -> str:
    """The page with the sections that probes keep in their own folders, at its mark for them."""
    own = sorted(_PROBES.iterdir(), key=lambda folder: folder.name)
    files = [file for folder in own if (file := folder.joinpath("method.md")).is_file()]
    sections = [file.read_text(encoding="utf-8").strip() for file in files]
    return _MARK.sub(lambda _: "\n\n".join(sections), text)


def picture(name: str) -> bytes:
    """A picture's file (SVG or PNG); raises `KeyError` for an unknown name."""
    if name not in PICTURES:
        raise KeyError(name)
    return _FOLDER.joinpath(name).read_bytes()


@cache
def _read(file: str) -> str | None:
    found = _FOLDER.joinpath(file)
    return found.read_text(encoding="utf-8") if found.is_file() else None
