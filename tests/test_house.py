"""The house rules that a machine can hold: who imports whom, sizes, style, what is shipped."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import typer

from jharnet_monitor.cli import app
from jharnet_monitor.model import QUANTITY_NAMES, Direction
from jharnet_monitor.probes import PROBES, load
from jharnet_monitor.probes.agent_tasks import AGENT_TASKS, LIGHT_TASKS, OWN_PROCESS_TASKS
from jharnet_monitor.profiles import Profile

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "jharnet_monitor"

LAYERS = (
    {
        "clock",
        "errors",
        "file_lock",
        "help",
        "parent_process",
        "profiles",
        "quantities",
        "windows_api",
        "worker_process",
    },
    {"disk_queue", "model", "security", "supervisor"},
    {"config", "handover"},
    {"judge", "live"},
    {"i18n", "rtc", "store"},
    {"probes"},
    {"metrics", "report", "standby", "wire"},
    {"agent", "dossier", "mail", "state", "web"},
    {"hub", "lab"},
    {"demo"},
    {"commands"},
    {"cli"},
    {"__main__"},
)
"""Rooms, lowest first. A room imports only from rooms that stand before it, so there is no circle.

The order is the shortest that the code allows: a test fails where a room could stand lower.
"""

GENERATOR = PACKAGE / "help" / "generate"
"""A program by itself that writes pages of the help: it reads every room, and none imports it."""

NEVER = {
    "probes": {"store", "metrics"},
    "metrics": {"store"},
    "dossier": {"hub"},
    "agent": {"store", "metrics", "hub", "web", "report"},
}
"""What a room must not import although its layer would allow it."""

IMPURE = {"asyncio", "os", "pathlib", "socket", "subprocess", "time", "logging"}
"""What `judge` does without: it has no clock and no I/O."""

PRIVATE_WORDS = {
    "anew", "apart", "aside", "asked", "begun", "beside", "bore", "hindsight", "knock", "luck",
    "said", "stray", "tell", "telling", "tells", "told", "unreached", "vigil", "wavering",
}  # fmt: skip
"""What no name is made of: the field has a word for each (`reported`, `requested`, `started`)."""
ESTABLISHED = {"set_aside"}
"""Terms that may hold a word of `PRIVATE_WORDS`."""

BY_NAME = {"tzdata", "fontpkg-noto-sans-devanagari", "psycopg"}
"""Dependencies that no `import` need show: data, and what SQLAlchemy loads by an address."""
COMES_WITH = {
    "aioice": "aiortc", "asn1crypto": "pyhanko", "av": "aiortc",
    "multidict": "aiohttp", "pydantic-core": "pydantic",
    "pyhanko-certvalidator": "pyhanko", "yarl": "aiohttp",
}  # fmt: skip
"""Libraries in whose terms another one's interface speaks: it chooses their version."""

README_LINES = 120

TEST_COMMAND = (
    "python3 -m venv .venv && .venv/bin/pip install -q -r tests/requirements.lock && "
    ".venv/bin/pip install -q --no-deps -e . && .venv/bin/pytest"
)


CHECKERS = ("ruff check", "ruff format --check", "mypy")


@pytest.fixture(scope="module", autouse=True)
def checkers(request: pytest.FixtureRequest) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """What checks style and types, running beside the other tests of this file: mypy takes half a
    minute of one core. Those whose tests were not selected do not run."""
    selected = {item.name for item in request.session.items}
    running = {
        command: subprocess.Popen(
            [sys.executable, "-m", *command.split()], cwd=ROOT, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )
        for command in CHECKERS
        if f"test_style_and_types[{command}]" in selected
    }  # fmt: skip
    yield running
    for one in running.values():
        if one.poll() is None:  # else its test has read what it found
            one.kill()
            one.communicate()


def _modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def _room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(path: Path) -> Iterator[str]:
    """Full names of what a file imports, wherever in it."""
    return _imported_by(ast.walk(ast.parse(path.read_text("utf-8"))))


def _imported_by(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _rooms_imported() -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {}
    for path in _modules():
        if GENERATOR in path.parents:
            continue
        ours = (name.split(".") for name in _imports(path) if name.startswith("jharnet_monitor."))
        rooms = {parts[1] for parts in ours} - {_room(path), "__version__"}
        graph.setdefault(_room(path), set()).update(rooms)
    return graph


PAPERS = {"dossier", "report", "state"}
"""Rooms whose work is done in a process of its own."""
HUB_ONLY = PAPERS | {"hub", "mail", "metrics", "standby", "store", "web"}
"""Rooms that the agent does without: an office's PC has neither the memory nor the line."""


def _libraries(rooms: set[str], *, at_the_top: bool) -> set[str]:
    """The libraries that modules of these rooms import, anywhere or only when they are loaded."""
    names: set[str] = set()
    for path in _modules():
        if _room(path) in rooms:
            tree = ast.parse(path.read_text("utf-8"))
            nodes = tree.body if at_the_top else ast.walk(tree)
            names |= {name.split(".")[0] for name in _imported_by(nodes)}
    return names - set(sys.stdlib_module_names) - set(COMES_WITH) - {"jharnet_monitor"}


def _needed_only_by(rooms: set[str], others: set[str]) -> set[str]:
    return _libraries(rooms, at_the_top=False) - _libraries(others, at_the_top=True)


def _loaded_by(code: str) -> set[str]:
    """The modules that are loaded once a new interpreter has run the code."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return set(done.stdout.split())


def test_the_hub_stays_light() -> None:
    """The hub's process times what arrives: it loads no library that papers or migrations need."""
    heavy = _needed_only_by(PAPERS, set(_rooms_imported()) - PAPERS) | {"alembic", "numpy"}
    assert heavy >= {"docx", "pyarrow", "pypdf", "typst", "xlsxwriter"}
    loaded = _loaded_by("import jharnet_monitor.hub.daemon")
    assert loaded & (heavy | {"jharnet_monitor.report.data.load"}) == set()


def test_imports_go_one_way() -> None:
    """A room imports only from the layers below its own, and nothing that `NEVER` lists."""
    layer = {room: number for number, rooms in enumerate(LAYERS) for room in rooms}
    graph = _rooms_imported()
    graph.pop("__init__", None)
    assert set(graph) == set(layer), "every room has its layer in LAYERS, and each layer exists"
    wrong = [
        f"{room} → {other}"
        for room, others in graph.items()
        for other in others
        if layer[other] >= layer[room] or other in NEVER.get(room, set())
    ]
    assert wrong == []


def test_nothing_imports_the_generator_of_pages() -> None:
    """Importing it would load every room."""
    names = {
        name for path in _modules() if GENERATOR not in path.parents for name in _imports(path)
    }
    assert not any(name.startswith("jharnet_monitor.help.generate") for name in names)


def test_every_room_stands_as_low_as_it_can() -> None:
    """`LAYERS` follows the code: each room is just above the highest that it imports."""
    layer = {room: number for number, rooms in enumerate(LAYERS) for room in rooms}
    graph = _rooms_imported()
    lowest = {
        room: 1 + max((layer[other] for other in others), default=-1)
        for room, others in graph.items()
        if room != "__init__"
    }
    assert lowest == layer


def test_judge_is_pure() -> None:
    """A verdict depends only on what was measured; dice are allowed only with a fixed seed."""
    for path in sorted((PACKAGE / "judge").rglob("*.py")):
        assert {name.split(".")[0] for name in _imports(path)} & IMPURE == set(), path
        assert not re.search(r"\b(now|today|open)\(", path.read_text("utf-8")), path
        assert not re.search(
            r"(?<!np\.)\brandom\.(?!Random\(SEED\))\w+\(", path.read_text("utf-8")
        ), path


def test_only_the_command_line_sets_up_logging() -> None:
    """A library that configures logging takes that decision from its user."""
    for path in _modules():
        if _room(path) not in ("cli", "commands"):
            assert not re.search(r"basicConfig|dictConfig|addHandler", path.read_text("utf-8")), (
                path
            )


def test_commands_print_what_people_name_as_it_is() -> None:
    """A console of rich takes `[old]` in a name for markup, and that of `terminal` does not. The
    demo's district is its own."""
    makers = [
        path.name for path in _modules() if re.search(r"\bConsole\(", path.read_text("utf-8"))
    ]
    assert sorted(makers) == ["demo.py", "terminal.py"]


def test_an_error_without_a_text_is_not_empty() -> None:
    """`error or "no answer"` is always the error, whose text may be empty, as `TimeoutError`'s is:
    `str(error) or "no answer"` is what is meant."""
    for path in _modules():
        nodes = [*ast.walk(ast.parse(path.read_text("utf-8")))]
        handlers = {one.name for one in nodes if isinstance(one, ast.ExceptHandler) and one.name}
        for node in nodes:
            if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
                first = node.values[0]
                assert not (isinstance(first, ast.Name) and first.id in handlers), path


def test_a_class_name_means_one_thing() -> None:
    """No two classes of the package share a name, private ones included."""
    places: dict[str, list[str]] = {}
    for path in _modules():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(str(path.relative_to(PACKAGE)))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def _names_given(tree: ast.AST) -> Iterator[str]:
    """The names that a file gives: functions, classes, arguments, variables and attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def _words_of(name: str) -> set[str]:
    """The words of a name in snake or camel case, without the established terms."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    for term in ESTABLISHED:
        snake = re.sub(rf"(?<![a-z]){term}(?![a-z])", "", snake)
    return set(snake.split("_"))


def test_names_are_made_of_plain_words() -> None:
    """In the package and in its tests."""
    assert _words_of("_ToldBy_set_aside") == {"", "told", "by"}
    wrong = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in [*_modules(), *(ROOT / "tests").rglob("*.py")]
        for name in _names_given(ast.parse(path.read_text(encoding="utf-8")))
        if _words_of(name) & PRIVATE_WORDS
    }
    assert not wrong


def test_directions_and_profiles_are_spelled_once() -> None:
    """Nobody lists directions or profiles by hand: `Direction` and `Profile` do."""
    directions = ({*Direction}, {direction.transfer for direction in Direction})
    profiles = {*Profile} - {Profile.AUDIO}  # which is also a medium
    for path in _modules():
        if _room(path) == "lab":  # the emulator speaks no word of the package
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Tuple | ast.List | ast.Set):
                words = {one.value for one in node.elts if isinstance(one, ast.Constant)}
                assert words not in directions, f"{path}:{node.lineno}"
            if isinstance(node, ast.Constant) and path.name != "profiles.py":
                assert node.value not in profiles, f"{path}:{node.lineno}"


MOST_LINES = 600
"""A longer file holds more than one idea."""


def test_files_hold_one_idea_each() -> None:
    """No file is longer than `MOST_LINES`."""
    files = [*_modules(), *(ROOT / "tests").rglob("*.py")]
    lengths = {f: f.read_text("utf-8").count("\n") for f in files}
    assert {f.name: n for f, n in lengths.items() if n > MOST_LINES} == {}


MEASURING = {"aiohttp", "aiortc", "av", "gufo", "icmplib", "speedtest"}
"""What probes measure with."""


def test_a_probe_is_declared_without_what_it_measures_with() -> None:
    """Reports and exporters read the declarations of probes and load none of their libraries."""
    loaded = _loaded_by("import jharnet_monitor.probes")
    assert not MEASURING & {name.split(".")[0] for name in loaded}


def test_what_a_probe_runs_with_is_there() -> None:
    """Every function that a declaration names by its module exists, and a route has one series."""
    load()
    for probe in PROBES.values():
        routes = [one.route for one in probe.series]
        assert len(routes) == len(set(routes)), probe.name
        assert set(probe.headline) <= set(QUANTITY_NAMES[probe.name]), probe.name
        assert bool(probe.headline) == any(one.listed for one in probe.series), probe.name


def test_the_agent_loads_only_what_it_needs() -> None:
    """Whatever the agent imports loads no library that only the hub needs."""
    agents = {"agent", "config", "judge", "model", "probes", "rtc", "security", "wire"}
    never = _needed_only_by(HUB_ONLY, agents) | {"babel", "numpy"}
    assert never >= {
        "aiosmtplib", "alembic", "apscheduler", "docx", "jinja2", "prometheus_client", "pyarrow",
        "pypdf", "sqlalchemy", "typst", "xlsxwriter",
    }  # fmt: skip
    loaded = _loaded_by("import jharnet_monitor.agent.daemon, jharnet_monitor.commands.agent")
    assert never & {name.split(".")[0] for name in loaded} == set()


def test_an_idle_agent_holds_no_command_line_and_no_reader_of_its_file() -> None:
    """What it needs only at its start, 11 MB, ends with the process that it replaces."""
    loaded = _loaded_by(
        "import jharnet_monitor.commands.agent_process as program, jharnet_monitor.agent.daemon;"
        "import jharnet_monitor.agent.updater, jharnet_monitor.probes.agent_tasks as tasks;"
        "tasks.load_agent_tasks()"
    )
    assert {"aiohttp", "jharnet_monitor.probes.path.trace"} <= loaded
    assert {"pydantic", "pydantic_core", "typer", "yaml", "jharnet_monitor.config.fields"} & (
        loaded
    ) == set()


def test_what_an_agent_offers_is_what_the_probes_open() -> None:
    """The agent's table of tasks stands alone; light are those whose probes are not heavy."""
    tasks = {name: probe for probe in PROBES.values() for name in probe.agent_tasks}
    assert set(tasks) == set(AGENT_TASKS)
    assert {name for name, probe in tasks.items() if not probe.heavy} == LIGHT_TASKS
    assert set(AGENT_TASKS) > OWN_PROCESS_TASKS


def test_an_agent_runs_without_what_the_hub_alone_needs() -> None:
    """What the extra `hub` installs is loaded neither by an idle agent nor by its calls."""
    extras = _project()["optional-dependencies"]
    owners = importlib.metadata.packages_distributions()
    loaded = _loaded_by(
        "import jharnet_monitor.commands.agent, jharnet_monitor.commands.agent_task;"
        "import jharnet_monitor.rtc.media.clip_maker, jharnet_monitor.agent.daemon;"
        "import jharnet_monitor.probes.agent_tasks as tasks;"
        "tasks.load_agent_tasks(); tasks.AGENT_TASKS['conference'].load()"
    )
    comes_along = {"cryptography"}  # with aiortc
    names = {owner.lower() for name in loaded for owner in owners.get(name.split(".")[0], ())}
    assert {_name(entry) for entry in extras["hub"]} & names - comes_along == set()


def _project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return project


def _name(requirement: str) -> str:
    return re.split(r"[\[<>=~ ;]", requirement)[0]


def test_dependencies_are_what_is_imported() -> None:
    """Every library that is imported is declared, and every declared one is used."""
    project = _project()
    written = chain(project["dependencies"], *project["optional-dependencies"].values())
    declared = {_name(entry) for entry in written} - {project["name"]}
    owners = importlib.metadata.packages_distributions()
    roots = {name.split(".")[0] for path in _modules() for name in _imports(path)}
    outside = roots - set(sys.stdlib_module_names) - {"jharnet_monitor"}
    used = {owners[name][0].lower().replace("_", "-") for name in outside}
    assert {name for name in used - declared if COMES_WITH.get(name) not in declared} == set()
    assert declared - used - BY_NAME == set()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("command", CHECKERS)
def test_style_and_types(command: str, checkers: dict[str, subprocess.Popen[str]]) -> None:
    """Ruff and strict mypy find nothing."""
    found, _ = checkers[command].communicate()
    assert checkers[command].returncode == 0, found


def _shipped() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]


def test_the_top_level_is_tidy() -> None:
    """A newcomer sees only the rooms."""
    top = {path.relative_to(ROOT).parts[0] for path in _shipped()}
    assert top <= {
        ".ci", ".dockerignore", ".github", ".gitignore", ".pre-commit-config.yaml", "CHANGELOG.md",
        "Dockerfile", "LICENSE",
        "README.md",
        "config", "exporters", "jharnet_monitor", "pyproject.toml", "requirements.lock",
        "tests",
    }  # fmt: skip


def test_nothing_of_the_makers_machine_is_shipped() -> None:
    """No home directory's path, no work left undone, no download address in a lock file."""
    path_of_a_machine = re.compile(r"(?<![\w./-])/(?:home|root|Users|work)/\w")
    undone = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X)\b|pragma: no" r" cover|mark\.x" r"fail")
    for path in _shipped():
        if path.suffix in (".png", ".ttf", ".woff2", ".ico"):
            continue
        text = path.read_text("utf-8")
        assert not path_of_a_machine.search(text), path
        assert not undone.search(text), path
        assert path.suffix != ".lock" or "://" not in text, path


def test_the_readme_leads_to_every_command() -> None:
    """It names every command of the top level, and links to the page that describes them all."""
    readme = (ROOT / "README.md").read_text("utf-8")
    group: Any = typer.main.get_command(app)
    assert [name for name in group.list_commands(None) if f"`{name}`" not in readme] == []
    assert "](jharnet_monitor/help/commands.md)" in readme


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    """Further detail is in the help."""
    readme = (ROOT / "README.md").read_text("utf-8")
    assert readme.count("\n") <= README_LINES
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", readme):
        assert (ROOT / target).exists(), target


def test_readme_and_ci_test_in_the_same_way() -> None:
    """A reader who follows the README runs what CI runs."""
    assert TEST_COMMAND in (ROOT / "README.md").read_text("utf-8")
    assert TEST_COMMAND in (ROOT / ".ci/run").read_text("utf-8")
