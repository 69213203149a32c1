"""The model's own examples hold: docstrings are run as tests."""

import doctest
from types import ModuleType

import pytest

from jharnet_monitor import clock, model, profiles, quantities
from jharnet_monitor.config import units
from jharnet_monitor.judge.calendar import hours


@pytest.mark.parametrize(
    "module", [model, profiles, quantities, clock, units, hours], ids=lambda m: m.__name__
)
def test_examples_in_docstrings_hold(module: ModuleType) -> None:
    """Every `>>>` example gives what it says."""
    assert doctest.testmod(module).failed == 0
