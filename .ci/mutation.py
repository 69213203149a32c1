"""How many faults, planted one by one into the judgement, its tests notice.

    pip install -r .ci/mutation.lock     # into the environment of the tests
    python .ci/mutation.py [--mutants N] [--seed N] [--minutes N] [--workers N] [--quick]
        [--results FILE]

Faults are drawn at random from all places that cosmic-ray finds for the operators below. Each is
planted into a copy of the project, where those tests run that import the module; a fault that none
of them notices is printed. A test that fails without the fault, too, notices nothing. Faults that
change no result are listed with the reason in `mutation_equivalent.toml`; they are counted, and
left out of the share. With `--results` a run that was interrupted goes on where it ended. Exit code
1 if fewer than 85 % are noticed.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import ndiff
from functools import cache
from math import sqrt
from pathlib import Path
from queue import Queue

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

ROOT = Path(__file__).parents[1]
EQUIVALENT = Path(__file__).with_name("mutation_equivalent.toml")
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
MOST_FILES, QUICK_FILES = 6, 3
"""Test files that run for a module, the nearest first: those that import it, then those that import
what imports it."""
LONG = ("tests/test_assess.py", "tests/test_cases.py", "tests/test_agent.py",
        "tests/test_conference.py", "tests/test_conference_causes.py",
        "tests/test_conference_h264.py")  # fmt: skip
"""They take long, and go through much of the judgement: they run last, and not with `--quick`."""
OF_ALL = "tests/test_judge_values.py"
"""Imports every module of the judgement by its name."""
THROUGH = {"jharnet_monitor/judge/twin": "tests/test_twin_frozen.py"}
"""Tests that go through all of a package in seconds: they run first for each of its modules."""
FAST = ["-m", "not root and not browser and not server"]
_FAILED = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a fault may be planted: the `number`th place for an operator in a module."""

    module: Path
    operator: str
    number: int


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault: the changed text of a module, and the lines before and after."""

    module: Path
    text: str
    line: str
    becomes: str

    @property
    def name(self) -> str:
        """What is the same in every run, for the file of results."""
        return hashlib.sha256(f"{self.module}\n{self.text}".encode()).hexdigest()[:16]


class Imports:
    """What imports what, by the text of the modules and tests."""

    def __init__(self) -> None:
        paths = [*(ROOT / "jharnet_monitor").rglob("*.py"), *(ROOT / "tests").glob("*.py")]
        self._of = {_dotted(path): self._read(path) for path in paths}

    @staticmethod
    def _read(path: Path) -> set[str]:
        names = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                names |= {node.module, *(f"{node.module}.{each.name}" for each in node.names)}
            elif isinstance(node, ast.Import):
                names |= {each.name for each in node.names}
        return {name for name in names if name.startswith(("jharnet_monitor.", "tests."))}

    def distances(self, module: Path) -> dict[str, int]:
        """All that imports the module, over how many steps."""
        found, edge = {_dotted(module): 0}, {_dotted(module)}
        while edge:
            edge = {name for name, of in self._of.items() if of & edge and name not in found}
            found |= dict.fromkeys(edge, max(found.values()) + 1)
        return found

    def known(self) -> list[str]:
        """All modules of the project that a test imports."""
        tests = [of for name, of in self._of.items() if name.startswith("tests.")]
        return sorted(
            {name for of in tests for name in of if name in self._of and "test" not in name}
        )


class Tests:
    """Runs tests in copies of the project, of which each takes one fault at a time."""

    def __init__(self, directory: Path, workers: int, *, quick: bool) -> None:
        self._imports, self._quick = Imports(), quick
        self._runners: Queue[Runner] = Queue()
        self._fails_anyway: dict[str, bool] = {}
        for number in range(workers):
            self._runners.put(Runner(directory / str(number), self._imports.known()))

    def close(self) -> None:
        """End the processes."""
        while not self._runners.empty():
            self._runners.get().close()

    def noticed_by(self, mutant: Mutant) -> str:
        """The test that fails because of the fault, or `without end`; empty if none does."""
        distances = self._imports.distances(mutant.module)
        runner = self._runners.get()
        place = runner.copy / mutant.module
        original = place.read_text("utf-8")
        try:
            for tests in _tests_of(mutant.module, distances, quick=self._quick):
                place.write_text(mutant.text, "utf-8")
                failed = runner.failing(tests, sorted(distances))
                place.write_text(original, "utf-8")
                if failed and not self._is_broken(failed, runner):
                    return failed
        finally:
            place.write_text(original, "utf-8")
            self._runners.put(runner)
        return ""

    def _is_broken(self, failed: str, runner: Runner) -> bool:
        """Whether the test fails without a fault, too."""
        if failed == "without end":
            return False
        if failed not in self._fails_anyway:
            doctest = ["--doctest-modules"] if failed.startswith("jharnet_monitor") else []
            named = [*doctest, failed] if "::" in failed else ["--collect-only", failed]
            self._fails_anyway[failed] = bool(runner.failing(named, []))
        if self._fails_anyway[failed]:
            print(f"fails without any fault: {failed}", flush=True)
        return self._fails_anyway[failed]


class Runner:
    """A copy of the project, and the process that runs tests in it."""

    def __init__(self, copy: Path, modules: list[str]) -> None:
        self.copy = copy
        ignored = shutil.ignore_patterns(".*", "__pycache__", "reports")
        shutil.copytree(ROOT, copy, ignore=ignored)
        shutil.copytree(ROOT / ".ci", copy / ".ci")
        own = os.environ | {
            "PYTHONPATH": str(copy), "COLUMNS": "1000",  # also of child processes
            "PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1",
        }  # fmt: skip
        self._process = subprocess.Popen(  # noqa: S603 - our own tests
            [sys.executable, str(Path(__file__).with_name("mutation_runner.py")), *modules],
            cwd=copy, env=own, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("no pipe to the process that runs the tests")
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._stdout.readline()  # it has imported all before a fault is planted

    def failing(self, tests: list[str], again: list[str]) -> str:
        """The first test that fails, or `without end`; empty if none does. The modules `again` are
        imported anew.
        """
        output = self.copy / ".output"
        arguments = ["-q", "-x", "-rfE", "-p", "no:cacheprovider", *tests]
        job = {"arguments": arguments, "again": again, "output": str(output)}
        self._stdin.write(json.dumps(job) + "\n")
        self._stdin.flush()
        code = int(self._stdout.readline())
        if code in (0, 5):  # 5: no test was collected
            return ""
        if code < 0:
            return "without end"
        text = output.read_text("utf-8", errors="replace")
        match = _FAILED.search(text)
        if match is None:
            raise RuntimeError(f"pytest ended with {code}: {text}")
        return match.group(1)

    def close(self) -> None:
        """End the process."""
        self._stdin.close()
        self._process.wait()


def main() -> int:
    """Draw, plant and count."""
    options = _arguments()
    modules = sorted((ROOT / "jharnet_monitor" / options.package).rglob("*.py"))
    places = list(_places(modules))
    random.Random(options.seed).shuffle(places)
    chosen = places[: options.mutants]
    print(f"{len(places)} faults possible in {len(modules)} modules, {len(chosen)} drawn "
          f"(seed {options.seed})", flush=True)  # fmt: skip
    equal, known = _equivalents(), _results(options.results)
    deadline, lock = time.monotonic() + 60 * options.minutes, threading.Lock()
    noticed, missed, same = [], [], []

    def one(place: Place) -> None:
        mutant = _mutant(place)
        if (str(mutant.module), mutant.line, mutant.becomes) in equal:
            same.append(mutant)
            return
        by = known.get(mutant.name)
        if by is None:
            if time.monotonic() > deadline:
                return
            by = tests.noticed_by(mutant)
            _keep(options.results, mutant, by, lock)
        (noticed if by else missed).append(mutant)
        with lock:
            if not by:
                print(f"not noticed: {mutant.module}\n  - {mutant.line}\n  + {mutant.becomes}")
            print(f"{len(noticed)} of {len(noticed) + len(missed)} noticed", flush=True)

    with (
        tempfile.TemporaryDirectory() as directory,
        ThreadPoolExecutor(options.workers) as pool,
    ):
        tests = Tests(Path(directory), options.workers, quick=options.quick)
        list(pool.map(one, chosen))
        tests.close()
    planted = len(noticed) + len(missed)
    if not planted:
        raise SystemExit("no fault was planted")
    low, high = _interval(len(noticed), planted)
    share = len(noticed) / planted
    print(f"{len(noticed)} of {planted} noticed: {share:.1%} (95 % interval {low:.1%} to "
          f"{high:.1%}); mark {MARK:.0%}. {len(same)} more change no result")  # fmt: skip
    return 0 if len(noticed) >= MARK * planted else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How many planted faults the tests notice.")
    parser.add_argument("--mutants", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="few tests: a lower bound")
    parser.add_argument("--package", default="judge")
    parser.add_argument("--results", type=Path, help="JSON lines, one a fault; continued")
    return parser.parse_args()


def _places(modules: list[Path]) -> Iterator[Place]:
    for module in modules:
        nodes = list(ast_nodes(get_ast(module.read_text("utf-8"))))
        for name in OPERATORS:
            operator = get_operator(f"core/{name}")()
            count = sum(len(list(operator.mutation_positions(node))) for node in nodes)
            yield from (Place(module.relative_to(ROOT), name, number) for number in range(count))


def _mutant(place: Place) -> Mutant:
    before = (ROOT / place.module).read_text("utf-8")
    text = mutate_code(before, get_operator(f"core/{place.operator}")(), place.number)
    if text is None:
        raise RuntimeError(f"{place} was counted but cannot be planted")
    lines = list(ndiff(before.splitlines(), text.splitlines()))
    old, new = (" / ".join(line[2:].strip() for line in lines if line[0] == sign) for sign in "-+")
    return Mutant(place.module, text, old, new)


def _equivalents() -> set[tuple[str, str, str]]:
    """Module, line and changed line of each; one whose line is gone ends the run."""
    found = set()
    for each in tomllib.loads(EQUIVALENT.read_text("utf-8"))["equivalent"]:
        module, line = f"jharnet_monitor/{each['module']}", each["line"]
        if line not in (ROOT / module).read_text("utf-8"):
            raise SystemExit(f"{EQUIVALENT.name}: {module} has no line {line!r}; remove the entry")
        found.add((module, line, each["becomes"]))
    return found


def _results(path: Path | None) -> dict[str, str]:
    if path is None or not path.exists():
        return {}
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return {row["name"]: row["by"] for row in rows}


def _keep(path: Path | None, mutant: Mutant, by: str, lock: threading.Lock) -> None:
    if path is None:
        return
    row = {"name": mutant.name, "by": by, "module": str(mutant.module),
           "line": mutant.line, "becomes": mutant.becomes}  # fmt: skip
    with lock, path.open("a", encoding="utf-8") as out:
        out.write(json.dumps(row) + "\n")


def _dotted(path: Path) -> str:
    inside = path.relative_to(ROOT) if path.is_absolute() else path
    return ".".join(inside.with_suffix("").parts)


def _tests_of(module: Path, distances: dict[str, int], *, quick: bool) -> Iterator[list[str]]:
    """The tests of a module in groups, the quickest to fail first: its examples with the files that
    import it and need no fixture of `conftest`, then single files, then the long ones."""
    near = []
    for path in (ROOT / "tests").glob("test_*.py"):
        distance = distances.get(_dotted(path))
        if distance is not None:
            taken = _taken(path, _dotted(module))
            near.append((distance, -taken, str(path.relative_to(ROOT))))
    near.sort()
    long = [one for _, _, one in near if one in LONG]
    files = [(distance, one) for distance, _, one in near if one not in LONG]
    files = files[: QUICK_FILES if quick else MOST_FILES]
    first = [one for distance, one in files if distance == 1 and not _shares_fixtures(one)]
    through = [test for package, test in THROUGH.items() if module.is_relative_to(package)]
    first = [one for one in first if one not in through]
    yield [*FAST, "--noconftest", "--doctest-modules", str(module), *first, OF_ALL, *through]
    for _, one in files:
        if one not in {*first, *through}:
            yield [*FAST, one] if _shares_fixtures(one) else [*FAST, "--noconftest", one]
    if not quick:
        yield from ([*FAST, one] for one in long)


def _taken(path: Path, module: str) -> int:
    """How many names a test file takes from the module; of two as near, the one that takes more
    tests more of it."""
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    froms = (node for node in nodes if isinstance(node, ast.ImportFrom) and node.module == module)
    return sum(len(node.names) for node in froms)


def _shares_fixtures(file: str) -> bool:
    """Whether a test takes a fixture of `conftest`, whose imports take seconds."""
    shared = {name for name, _ in _functions("tests/conftest.py")}
    return any(arguments & shared for _, arguments in _functions(file))


@cache
def _functions(file: str) -> list[tuple[str, set[str]]]:
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    return [(node.name, {argument.arg for argument in node.args.args}) for node in found]


def _interval(hits: int, of: int) -> tuple[float, float]:
    """The score interval of a share (Wilson 1927)."""
    z = 1.96
    middle = (hits + z * z / 2) / (of + z * z)
    half = z / (of + z * z) * sqrt(hits * (of - hits) / of + z * z / 4)
    return middle - half, middle + half


if __name__ == "__main__":
    raise SystemExit(main())
