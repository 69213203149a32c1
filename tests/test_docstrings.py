"""Every `>>>` example in the package's docstrings gives what it says."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import jharnet_monitor

PACKAGE = Path(jharnet_monitor.__file__).parent


def _modules_with_examples() -> list[str]:
    """Names of all modules that have an example."""
    return [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted(PACKAGE.rglob("*.py"))
        if ">>> " in path.read_text("utf-8")
    ]


@pytest.mark.parametrize("name", _modules_with_examples())
def test_examples_hold(name: str) -> None:
    """All examples of the module are run, and give what they say."""
    module = importlib.import_module(name)
    text = Path(str(module.__file__)).read_text("utf-8")
    results = doctest.testmod(module)
    assert results.failed == 0
    run = results.attempted - getattr(results, "skipped", 0)  # Python 3.13 attempts what it skips
    assert run == text.count(">>> ") - text.count("# doctest: +SKIP")
