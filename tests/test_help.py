"""The help: complete, true to the code, and served without anything from elsewhere."""

from __future__ import annotations

import doctest
import re
import shlex
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import typer
import yaml
from mdurl._encode import encode_cache

from jharnet_monitor.cli import app
from jharnet_monitor.config.agent_file import AgentFile
from jharnet_monitor.config.load import load_config
from jharnet_monitor.config.schema import Config
from jharnet_monitor.config.section import Section
from jharnet_monitor.config.yaml_model import load_yaml_model
from jharnet_monitor.help import pages
from jharnet_monitor.help.generate import GENERATED, markdown
from jharnet_monitor.help.generate.commands import commands
from jharnet_monitor.help.generate.readme import with_probes
from jharnet_monitor.help.pages import INDEX, NAMES, PICTURES, page
from jharnet_monitor.i18n.words import words
from jharnet_monitor.judge.conference.grade import GradeLimit
from jharnet_monitor.judge.line.reading import Limit
from jharnet_monitor.lab.spec import LabSpec
from jharnet_monitor.model import QUANTITIES, Cause, OfficeState, Outcome
from jharnet_monitor.probes import PROBES
from jharnet_monitor.web import help as help_module
from jharnet_monitor.web import make_app
from jharnet_monitor.web.help import help_page, render
from tests.exporters_support import alert_rules, metric_names, program, run
from tests.test_house import LAYERS, ROOT
from tests.web_support import Client, bad_morning, serving

FOLDER = Path(pages.__file__).parent
LANGUAGES = ("en", "hi")
TEXTS = [(file.name, file.read_text("utf-8")) for file in sorted(FOLDER.glob("*.md"))]


def text(name: str) -> str:
    """A page's Markdown, in English."""
    return page(name, "en").text


def sections(name: str) -> dict[str, str]:
    """The text under each heading of a page, up to the next one."""
    parts = re.split(r"^#{2,3} (.+)$", text(name), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("module", [pages, help_module, markdown], ids=lambda m: m.__name__)
def test_examples_in_docstrings_hold(module: Any) -> None:
    """Every `>>>` example gives what it says."""
    assert doctest.testmod(module).failed == 0


# --- the pages


def test_pages_are_rendered_by_several_threads_at_once() -> None:
    """The first readers of two pages got an error where one read a table the other had begun."""
    switching = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            for _ in range(50):
                encode_cache.clear()
                list(threads.map(render, ["[one](https://example.org/~z)"] * 4))
    finally:
        sys.setswitchinterval(switching)


def test_every_page_is_listed() -> None:
    """Each file is a page or its translation; the contents lead to each of them."""
    files = {name.removesuffix(".md").removesuffix(".hi") for name, _ in TEXTS}
    assert files == set(NAMES)
    pictures = {f.name for ending in ("svg", "png") for f in FOLDER.glob(f"*.{ending}")}
    assert pictures == set(PICTURES)
    index = text(INDEX)
    assert [name for name in NAMES if name != INDEX and f"]({name}.md)" not in index] == []


@pytest.mark.parametrize("name", GENERATED)
def test_generated_pages_are_up_to_date(name: str) -> None:
    """They agree with the code."""
    assert text(name) == GENERATED[name](), "run `python -m jharnet_monitor.help.generate`"


def test_the_readmes_table_of_probes_is_up_to_date() -> None:
    """Every probe has its line there, as it declares."""
    readme = (ROOT / "README.md").read_text("utf-8")
    assert with_probes(readme) == readme, "run `python -m jharnet_monitor.help.generate`"
    assert all(one.how and one.safeguards for one in PROBES.values())
    assert all(f"| `{name}` |" in readme for name in PROBES)


def _links(markdown_text: str) -> list[str]:
    bare = re.sub(r"```.*?```|`[^`\n]*`", "", markdown_text, flags=re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", bare)


@pytest.mark.parametrize(("file", "written"), TEXTS, ids=[name for name, _ in TEXTS])
def test_links_lead_to_a_page_and_an_anchor(file: str, written: str) -> None:
    """On the hub and on a code host alike: files in the page's folder, headings that exist."""
    anchors = {name: set(re.findall(r' id="([^"]+)"', render(other)[0])) for name, other in TEXTS}
    for target in _links(written):
        name, _, anchor = target.partition("#")
        assert not re.match(r"[a-z]+:|/", target), f"{target}: needs the Internet, or a hub"
        assert name in (*anchors, *PICTURES, ""), target
        assert not anchor or anchor in anchors[name or file], target


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    """Somebody who reads."""
    async with serving(bad_morning(tmp_path)) as client:
        yield client


@pytest.mark.parametrize("language", LANGUAGES)
async def test_every_page_is_served(client: Client, language: str) -> None:
    """In the frame of the other pages, with contents and anchors, and nothing from elsewhere."""
    for name in NAMES:
        shown = help_page(name, language)
        answer = await client.get(shown.address, headers={"Accept-Language": language})
        html = await answer.text()
        assert (answer.status, answer.content_type) == (200, "text/html"), name
        assert f"<html lang={language!r}>".replace("'", '"') in html
        assert f'<article lang="{shown.language}">' in html
        assert html.count("<h1") == 1
        assert html.count('aria-current="page"') == 1
        for heading in shown.headings:
            assert f'id="{heading.anchor}"' in html
            assert f'href="#{heading.anchor}"' in html
        assert not re.search(r'(?:src|href|action)="(?:[a-z]+:)?//', html), name
        assert not re.search(r"<style|<script(?! src=)|\sstyle=|\son[a-z]+=", html), name
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


async def test_the_help_is_found(client: Client) -> None:
    """From the foot of every page; the join page leads to the operator's own."""
    for path, address in (
        ("/", "/help/"),
        ("/reports", "/help/"),
        ("/join/potka", "/help/operator"),
    ):
        html = await (await client.get(path)).text()
        assert f'<p class="screen-only"><a href="{address}">' in html
    answer = await client.get("/help", allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (308, "/help/")
    picture = await client.get("/help/architecture.svg")
    assert (picture.status, picture.content_type) == (200, "image/svg+xml")
    for path in ("/help/nowhere", "/help/pages.py", "/help/README.md", "/help/..%2Fcli.py"):
        assert (await client.get(path)).status == 404


async def test_the_operator_reads_hindi(client: Client) -> None:
    """The page for a block office is in the reader's language; the others say that they are not."""
    hindi = await (await client.get("/help/operator?lang=hi")).text()
    assert "<h1" in hindi
    assert "प्रखण्ड कार्यालय के लिए</h1>" in hindi
    assert words("hi")("web.help.untranslated") not in hindi
    runbook = await (await client.get("/help/runbook?lang=hi")).text()
    assert words("hi")("web.help.untranslated") in runbook


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_operator_finds_what_the_join_page_says(language: str) -> None:
    """Every state that stays on the screen is explained, by the words that are on it."""
    phrase = words(language)
    written = page("operator", language).text
    for state, text in phrase.group("join.state").items():
        assert state == "connecting" or f"| {text} |" in written, text
    assert f"**{phrase('join.button')}**" in written


# --- commands


def test_every_command_and_option_is_described() -> None:
    """Each has its section, and each argument and option its words."""
    written = {title.strip("`"): words_ for title, words_ in sections("commands").items()}
    found = dict(commands())
    assert set(written) == set(found)
    for name, command in found.items():
        assert command.help, name
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert all(f"`{option}" in written[name] for option in parameter.opts), name
            assert parameter.help, (name, parameter.name)
            assert " ".join(parameter.help.split()).replace("|", "\\|") in written[name]


def _shown() -> Iterator[tuple[str, str]]:
    """Every command line of ours in a block of shell, with its page."""
    for file, written in [*TEXTS, ("README", (ROOT / "README.md").read_text("utf-8"))]:
        for block in re.findall(r"^ *```sh\n(.*?)```", written, re.M | re.S):
            for line in block.replace("\\\n", " ").splitlines():
                for part in re.split(r"\s&&\s", line):
                    words_ = shlex.split(part, comments=True)
                    if words_ and words_[0].rpartition("/")[2] == "jharnet-monitor":
                        yield file, shlex.join(words_[1:])


def test_commands_in_the_help_are_taken() -> None:
    """A command that is copied gives no usage error."""
    shown = list(_shown())
    assert len(shown) > 40
    for file, line in shown:
        command: Any = typer.main.get_command(app)
        rest = shlex.split(line)
        while hasattr(command, "list_commands") and rest and rest[0] in command.list_commands(None):
            command = command.get_command(None, rest.pop(0))
        assert command.name != "jharnet-monitor", (file, line)
        command.make_context(command.name, rest)  # raises where an option or argument is wrong


def test_commands_named_in_a_sentence_exist() -> None:
    """`jharnet-monitor …` in the text begins with a command that exists."""
    names = {name for name, _ in commands()}
    for file, written in TEXTS:
        for line in re.findall(r"`jharnet-monitor ([a-z][^`]*)`", written):
            first, *more = line.split()
            assert first in names, (file, line)
            group = any(name.startswith(f"{first} ") for name in names)
            if group and more and re.fullmatch(r"[a-z]+", more[0]):
                assert f"{first} {more[0]}" in names, (file, line)


# --- configuration


def _keys(model: type[Section], path: str = "") -> Iterator[tuple[str, str, bool]]:
    """Every key with its section, and whether it or its section has a text."""
    docstrings = model.docstrings()
    for name, info in model.model_fields.items():
        key = info.alias or name
        sections = list(_sections(info.annotation))
        described = bool(name in docstrings or any(one.__doc__ for one in sections))
        yield path, key, described
        for one in sections:
            many = "[]" if "tuple" in str(info.annotation) else ""
            yield from _keys(one, f"{path}.{key}{many}" if path else f"{key}{many}")


def _sections(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _sections(argument)


def test_every_configuration_key_is_described() -> None:
    """In the table of its section, with its meaning."""
    found = {title.strip("`"): words_ for title, words_ in sections("configuration").items()}
    found[""] = found["The whole file"]
    for path, key, described in _keys(Config):
        same = re.search(r"The same keys as \[`(.+?)`\]", found.get(path, ""))
        section = found[same[1]] if same else found.get(path, "")
        if not section:  # below a section whose keys are those of another one
            continue
        row = re.search(rf"^\| (?:\[`{key}`\]\S+|`{key}`) \| (.*?) \|", section, re.M)
        assert row, (path, key)
        assert described, (path, key)
        assert row[1], (path, key)
    for _, key, described in _keys(AgentFile):
        assert f"| `{key}` | " in found["The agent's file"]
        assert described, key


def test_the_examples_of_files_are_read(tmp_path: Path) -> None:
    """The smallest configuration and the lab's file are right as they stand there."""
    blocks = re.findall(r"```yaml\n(.*?)```", text("configuration"), re.S)
    (tmp_path / "j.yaml").write_text(blocks[0], "utf-8")
    assert load_config(tmp_path / "j.yaml", files=False).offices[0].id == "potka"
    lab = re.search(r"```yaml\n(.*?)```", sections("architecture")["The lab"], re.S)
    assert lab
    (tmp_path / "lab.yaml").write_text(lab[1], "utf-8")
    assert set(load_yaml_model(tmp_path / "lab.yaml", LabSpec).offices) == {"potka"}


# --- HTTP, metrics, causes, alerts


def test_every_address_is_described(tmp_path: Path) -> None:
    """Each route of the hub, by its method."""
    hub = bad_morning(tmp_path)
    routes = make_app(hub).router.routes()
    written = text("http")
    addresses = {
        f"`{route.method} {route.resource.canonical}`"
        for route in routes
        if route.resource is not None and route.method not in ("HEAD", "*")
    }
    hub.store.close()
    assert {address for address in addresses if address not in written} == set()


def test_every_metric_and_quantity_is_described() -> None:
    """Each family by its full name, each quantity with its unit."""
    written = text("metrics")
    suffixes = ("_bucket", "_sum", "_count")
    families = {name for name in metric_names() if not name.endswith(suffixes)}
    assert {name for name in families if f"| `{name}` |" not in written} == set()
    for quantity in QUANTITIES:
        row = f"| {quantity.probe} | `{quantity.name}` | {quantity.unit.replace('_', ' ')} | "
        assert row in written


def test_every_outcome_state_limit_and_cause_is_described() -> None:
    """Each is in its table, and nothing else is."""

    def named(*titles: str) -> list[str]:
        tables = "".join(sections("causes")[title] for title in titles)
        return sorted(re.findall(r"^\| `(\w+)` \|", tables, re.M))

    assert named("Outcomes") == sorted(Outcome)
    assert named("Grades") == sorted(set(words("en").group("grade")) - {"none"})
    limits = sorted({*GradeLimit, *Limit, "uplink"})
    assert named("What limited a test") == sorted(words("en").group("limited_by")) == limits
    assert named("States of an office") == sorted(OfficeState)
    assert named("Causes of `no_data`", "Causes of `failed`") == sorted(Cause)


def test_every_alert_has_its_section() -> None:
    """The runbook has a section for each alert, and none for an alert that is gone."""
    written = text("runbook")
    assert sorted(re.findall(r"^### (\w+)$", written, re.M)) == sorted(
        {rule["alert"] for rule in alert_rules()}
    )
    used = {rule["labels"][key] for rule in alert_rules() for key in ("severity", "team")}
    assert {word for word in used - {"none"} if f"| `{word}` |" not in written} == set()


@pytest.mark.server("promtool")
def test_the_alert_to_be_copied_is_right(tmp_path: Path) -> None:
    """The example of a rule is one that Prometheus accepts, over metrics that exist."""
    how = re.search(r"```yaml\n(.*?)```", sections("architecture")["Add an alert"], re.S)
    assert how
    rules = yaml.safe_load(how[1])
    assert set(re.findall(r"jharnet_\w+", rules[0]["expr"])) <= metric_names()
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "new", "rules": rules}]}), "utf-8")
    assert "SUCCESS: 1 rules found" in run(program("promtool"), "check", "rules", file)


# --- architecture and accuracy


def test_the_picture_shows_the_layers_as_they_are() -> None:
    """Every room in its layer, the lowest at the bottom."""
    root = ElementTree.parse(FOLDER / "architecture.svg").getroot()  # noqa: S314 - our own file
    heights: dict[str, float] = {
        str(one.text): -float(one.attrib["y"])
        for one in root.iter("{http://www.w3.org/2000/svg}text")
        if one.get("class") == "room"
    }
    drawn = [
        {room for room, height in heights.items() if height == level}
        for level in sorted(set(heights.values()))
    ]
    assert drawn == [set(rooms) for rooms in LAYERS if rooms != {"__main__"}]


def test_every_room_is_described() -> None:
    """The table of rooms has all that the picture has but the modules that everybody uses."""
    rooms = {room for layer in LAYERS for room in layer}
    named = re.findall(r"^\| (.*?) \|", sections("architecture")["The rooms"], re.M)
    described = set(re.findall(r"`(\w+)`", "".join(named)))
    assert rooms - described == {"clock", "errors", "model", "quantities", "__main__"}


def test_every_benchmark_is_listed() -> None:
    """Everything that can be run is listed with its mark, and everything listed can be run."""
    listed = set(re.findall(r"`tests/((?:bench|faults)/\w+)\.py`", text("accuracy")))
    runnable = {
        f"{file.parent.name}/{file.stem}"
        for folder in ("bench", "faults")
        for file in (ROOT / "tests" / folder).glob("*.py")
        if "raise SystemExit(main())" in file.read_text("utf-8")
        or "sys.exit(main())" in file.read_text("utf-8")
    }
    assert listed <= runnable
    assert {
        name for name in runnable - listed if not name.endswith(("_collect", "_fresh"))
    } == set()
