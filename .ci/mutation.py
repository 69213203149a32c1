"""How many faults, planted one by one into the judgement, its tests notice.

    pip install -r .ci/mutation.lock     # into the environment of the tests
    python .ci/mutation.py [--mutants N] [--seed N] [--minutes N] [--package judge]

Faults are drawn at random from all places that cosmic-ray finds for the operators below. Each is
planted into a copy of the project, where those tests run that import the module; a fault that none
of them notices is printed as a diff. Tests that fail without any fault prove nothing and end the
run. Exit code 1 if fewer than 85 % are noticed.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import unified_diff
from math import sqrt
from pathlib import Path

from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

ROOT = Path(__file__).parents[1]
MARK = 0.85
OPERATORS = (
    "AddNot", "NumberReplacer", "ReplaceAndWithOr", "ReplaceBinaryOperator_Add_Sub",
    "ReplaceBinaryOperator_Div_Mul", "ReplaceBinaryOperator_Mul_Div",
    "ReplaceBinaryOperator_Sub_Add", "ReplaceBreakWithContinue",
    "ReplaceComparisonOperator_Eq_NotEq", "ReplaceComparisonOperator_Gt_GtE",
    "ReplaceComparisonOperator_Gt_Lt", "ReplaceComparisonOperator_GtE_Gt",
    "ReplaceComparisonOperator_Is_IsNot", "ReplaceComparisonOperator_Lt_Gt",
    "ReplaceComparisonOperator_Lt_LtE", "ReplaceComparisonOperator_LtE_Lt",
    "ReplaceContinueWithBreak", "ReplaceFalseWithTrue", "ReplaceOrWithAnd",
    "ReplaceTrueWithFalse", "ZeroIterationForLoop",
)  # fmt: skip
"""Faults that a person makes. Those of types, such as `|` in an annotation, change nothing."""
SLOWEST_SECONDS = 240
MOST_FILES = 8
"""Test files that run for a module, those that name it most often first."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault: the changed text of a module."""

    module: Path
    operator: str
    text: str


def main() -> int:
    """Draw, plant and count."""
    options = _arguments()
    modules = sorted((ROOT / "jharnet_monitor" / options.package).rglob("*.py"))
    rng, deadline = random.Random(options.seed), time.monotonic() + 60 * options.minutes
    mutants = list(_mutants(modules))
    rng.shuffle(mutants)
    chosen = mutants[: options.mutants]
    print(f"{len(mutants)} faults possible in {len(modules)} modules, {len(chosen)} drawn "
          f"(seed {options.seed})", flush=True)  # fmt: skip
    noticed = planted = 0
    sound: dict[str, bool] = {}
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "__pycache__", "reports"))
        for mutant in chosen:
            if time.monotonic() > deadline:
                break
            planted += 1
            if _is_noticed(mutant, copy, sound):
                noticed += 1
            else:
                _print_diff(mutant)
            print(f"{planted}: {noticed} noticed", flush=True)
    if not planted:
        raise SystemExit("no fault was planted")
    low, high = _interval(noticed, planted)
    print(f"{noticed} of {planted} noticed: {noticed / planted:.1%} "
          f"(95 % interval {low:.1%} to {high:.1%}); mark {MARK:.0%}")  # fmt: skip
    return 0 if noticed >= MARK * planted else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How many planted faults the tests notice.")
    parser.add_argument("--mutants", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--package", default="judge")
    return parser.parse_args()


def _mutants(modules: list[Path]) -> Iterator[Mutant]:
    for module in modules:
        code = module.read_text("utf-8")
        for name in OPERATORS:
            operator, number = get_operator(f"core/{name}")(), 0
            while (text := mutate_code(code, operator, number)) is not None:
                yield Mutant(module.relative_to(ROOT), name, text)
                number += 1


def _is_noticed(mutant: Mutant, copy: Path, sound: dict[str, bool]) -> bool:
    """Whether a test of the module fails, or does not end.

    `sound` remembers which groups of tests pass without a fault; one that does not ends the run.
    """
    place = copy / mutant.module
    original = place.read_text("utf-8")
    for tests in _tests_of(mutant.module):
        place.write_text(mutant.text, "utf-8")
        try:
            failed = _fails(tests, copy)
        finally:
            place.write_text(original, "utf-8")
        if not failed:
            continue
        group = " ".join(tests)
        if group not in sound:
            sound[group] = not _fails(tests, copy)
        if not sound[group]:
            raise SystemExit(f"these tests fail without any fault: {group}")
        return True
    return False


def _fails(tests: list[str], copy: Path) -> bool:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    own = os.environ | {"PYTHONPATH": str(copy)}  # of child processes, too
    try:
        done = subprocess.run(command, cwd=copy, env=own,  # noqa: S603 - our own tests
                               capture_output=True, timeout=SLOWEST_SECONDS,
                              check=False)  # fmt: skip
    except subprocess.TimeoutExpired:
        return True
    if done.returncode == 5:  # no test was collected
        return False
    return done.returncode != 0


def _tests_of(module: Path) -> Iterator[list[str]]:
    """The tests of a module in groups, the quickest to fail first: its examples, then the files
    that import it, or anything that imports it."""
    yield ["--doctest-modules", str(module)]
    dotted = ".".join(module.with_suffix("").parts)
    importers = {dotted}
    texts = {path: path.read_text("utf-8") for path in (ROOT / "jharnet_monitor").rglob("*.py")}
    for path, text in texts.items():
        if re.search(rf"\b{re.escape(dotted)}\b", text):
            importers.add(".".join(path.relative_to(ROOT).with_suffix("").parts))
    counted = {}
    for path in (ROOT / "tests").glob("test_*.py"):
        text = path.read_text("utf-8")
        direct = len(re.findall(rf"\b{re.escape(dotted)}\b", text))
        near = sum(len(re.findall(rf"\b{re.escape(one)}\b", text)) for one in importers)
        if near:
            counted[str(path.relative_to(ROOT))] = (-direct, -near)
    files = sorted(counted, key=lambda one: counted[one])[:MOST_FILES]
    slow = "not root and not browser and not server"
    yield from (["-m", slow, one] for one in files)
    yield ["-m", slow, "tests/test_cases.py", "tests/test_assess.py"]


def _print_diff(mutant: Mutant) -> None:
    original = (ROOT / mutant.module).read_text("utf-8")
    lines = unified_diff(original.splitlines(), mutant.text.splitlines(), str(mutant.module),
                         mutant.operator, lineterm="", n=1)  # fmt: skip
    print("not noticed:", *lines, sep="\n  ", flush=True)


def _interval(hits: int, of: int) -> tuple[float, float]:
    """The score interval of a share (Wilson 1927)."""
    z = 1.96
    middle = (hits + z * z / 2) / (of + z * z)
    half = z / (of + z * z) * sqrt(hits * (of - hits) / of + z * z / 4)
    return middle - half, middle + half


if __name__ == "__main__":
    raise SystemExit(main())
