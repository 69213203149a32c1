"""The judgement's values: nothing that was judged can be changed afterwards."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import is_dataclass

import pytest

from jharnet_monitor import judge

GROWING = {"LanReadings", "PacketCounts", "Sent", "StateHistory", "TrafficReadings"}
"""Filled step by step while they are read."""


def _classes() -> list[type]:
    names = [found.name for found in pkgutil.walk_packages(judge.__path__, f"{judge.__name__}.")]
    every = [vars(importlib.import_module(name)).values() for name in names]
    return sorted(
        {one for each in every for one in each if isinstance(one, type) and is_dataclass(one)
         and one.__module__.startswith(f"{judge.__name__}.")},
        key=lambda one: (one.__module__, one.__name__),
    )  # fmt: skip


@pytest.mark.parametrize("value", _classes(), ids=lambda one: one.__name__)
def test_a_value_of_the_judgement_is_frozen_and_has_no_other_attributes(value: type) -> None:
    """`frozen` and `slots`, save those that grow."""
    assert "__slots__" in vars(value)
    parameters = value.__dataclass_params__  # type: ignore[attr-defined]
    assert parameters.frozen is (value.__name__ not in GROWING)
    assert parameters.eq
