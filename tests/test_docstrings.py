"""Docstrings are true to the code: their examples, and the names that they refer to."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

import jharnet_monitor
from jharnet_monitor.config import Config

PACKAGE = Path(jharnet_monitor.__file__).parent
ROOT = PACKAGE.parent


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


TEXTS = {_name(path): path.read_text("utf-8") for path in sorted(PACKAGE.rglob("*.py"))}
"""The source of every module."""


@pytest.mark.parametrize("name", [name for name, text in TEXTS.items() if ">>> " in text])
def test_examples_hold(name: str) -> None:
    """All examples of a module are run, and give the stated result."""
    results = doctest.testmod(importlib.import_module(name))
    assert results.failed == 0
    run = results.attempted - getattr(results, "skipped", 0)  # Python 3.13 attempts what it skips
    assert run == TEXTS[name].count(">>> ") - TEXTS[name].count("# doctest: +SKIP")


def _keys(model: type[BaseModel], before: str = "") -> set[str]:
    """The dotted keys of the configuration, those of its sections included."""
    found: set[str] = set()
    for name, info in model.model_fields.items():
        key = f"{before}{info.alias or name}"
        found.add(key)
        for part in (info.annotation, *get_args(info.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                found |= _keys(part, f"{key}.")
    return found


def _is_ours(name: str) -> bool:
    """Whether a dotted name is a module of the package, or something in one."""
    try:
        pkgutil.resolve_name(f"jharnet_monitor.{name}")
    except (ImportError, AttributeError):
        return False
    return True


FILES = (".md", ".typ", ".json", ".yaml")


def test_references_lead_to_what_is_there() -> None:
    """A module, attribute, key or document that a docstring or comment names exists."""
    rooms = {name.split(".")[1] for name in TEXTS if "." in name}
    documents = {path.name for path in ROOT.rglob("*.md")}
    keys = _keys(Config)
    lost = []
    for module, text in TEXTS.items():
        for name in re.findall(r"`([a-z_]+(?:[./][A-Za-z_]+)+)`", text):
            dotted = name.removesuffix(".py").replace("/", ".").removeprefix("config.")
            if dotted.split(".")[0] not in rooms or name.endswith(
                (".md", ".typ", ".json", ".yaml")
            ):
                continue
            if dotted not in keys and not _is_ours(dotted):
                lost.append(f"{module}: {name}")
        lost += [
            f"{module}: {n}" for n in re.findall(r"(?<![.\w])\w+\.md\b", text) if n not in documents
        ]
    assert lost == []
