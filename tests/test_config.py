"""The configuration: every error is one line with file, line, key and remedy."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.config import Config
from jharnet_monitor.config.agent_file import AgentFile
from jharnet_monitor.config.calls import ConferenceProbe, PlannedDrill
from jharnet_monitor.config.json_schema import config_schema
from jharnet_monitor.config.load import load_config
from jharnet_monitor.config.units import format_quantity, parse_duration, parse_ratio, parse_size
from jharnet_monitor.config.warnings import warnings
from jharnet_monitor.config.yaml_model import load_yaml_model
from jharnet_monitor.errors import UserError
from jharnet_monitor.probes import PROBES
from jharnet_monitor.probes.base import ProbeContext
from jharnet_monitor.probes.budget import budget_warnings, planned_bytes
from jharnet_monitor.probes.conference.plan import drill_bytes
from jharnet_monitor.profiles import Profile, call_bytes
from jharnet_monitor.security import tls
from jharnet_monitor.security.tokens import hash_token, make_token, write_secret
from tests.wrong_configs import GOOD, WRONG, Wrong

ROOT = Path(__file__).parents[1]
NOW = datetime(2026, 11, 25, tzinfo=UTC)


def _line_of(text: str, at: str) -> int:
    return text.count("\n", 0, text.index(at)) + 1


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory with every secret that `GOOD` names."""
    files = tls.Files(tmp_path / "tls")
    tls.make_authority(files, "test", NOW, ["hub.example"])
    tls.make_certificate(files, ["hub.example"], [], NOW)
    write_secret(tmp_path / "secrets/api", make_token())
    write_secret(tmp_path / "secrets/potka", hash_token("t"))
    write_secret(tmp_path / "secrets/smtp", "word")
    (tmp_path / "j.yaml").write_text(GOOD, "utf-8")
    return tmp_path


def _refusal(file: Path, text: str | bytes | None = None) -> str:
    if text is not None:
        file.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(UserError) as refused:
        load_config(file)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda w: f"{w.key}: {w.new.strip()[:30]}")
def test_a_wrong_value_is_reported_with_file_line_key_and_remedy(
    wrong: Wrong, tmp_path: Path
) -> None:
    """A mistake in a valid file gives one line with its place and what is valid."""
    assert wrong.old in GOOD
    text = GOOD.replace(wrong.old, wrong.new, 1)
    file = tmp_path / "j.yaml"
    message = _refusal(file, text)
    assert message.startswith(f"{file}:{_line_of(text, wrong.at)}: {wrong.key}: ")
    assert wrong.remedy in message
    assert "geheim" not in message


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("", None, "is empty"),
        ("# nothing\n", None, "is empty"),
        (b"hub: \xff\n", 1, "is not UTF-8 text; save the file as UTF-8"),
        (b"a: b\n\x00\x01", 2, "unprintable character"),
        ("hub:\n\tlisten: x\n", 2, "is indented with a tab; use spaces"),
        ("hub: [1,\n", 2, "check indentation, quotes and brackets"),
        ("a: 1\n---\nb: 2\n", 2, "is not valid YAML"),
        ("a: *nobody\n", 1, "undefined alias"),
        ("hub: !!python/object:os.system x\n", 1, "is not valid YAML"),
        ("hub: !!set {a, b}\n", 1, "leave it out"),
        ("1: x\n", 1, 'write "1": in quotes'),
        ("- a\n", 1, "must be a section with keys below it"),
        ("just a word", 1, "must be a section with keys below it"),
        ("a: 2026-13-45\n", 1, "write text in quotes"),
        ("b: 1\na: !!bool maybe\n", 2, "a: `maybe` is not a value of `!!bool`; leave the tag"),
        ("!!bool maybe: 1\n", 1, "`maybe` is not a value of `!!bool`; leave the tag out"),
        ("a: [!!timestamp abc]\n", 1, "a[0]: `abc` is not a value of `!!timestamp`; leave"),
        ('a: !!int ""\n', 1, "a: `` is not a value of `!!int`; leave the tag out"),
        ('a: !!float ""\n', 1, "a: `` is not a value of `!!float`; leave the tag out"),
        ('b: 1\na: "\\UFFFFFFFF"\n', 2, "is too large; write the character itself"),
        ('a: "\\U00110000"\n', 1, "is too large; write the character itself"),
        (f"%YAML 1.{'1' * 5000}\n---\na: b\n", 1, "or of `%YAML` is too large"),
        ('"\\ud800": 1\n', 1, "has half a character, such as \\ud800 alone"),
        ('a: "\\udfff"\n', 1, "a: has half a character"),
        ("[" * 3000, None, "is nested too deep"),
        ("a: &a [*a]\n", 1, "is nested too deep"),
        (
            "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
            + "".join(
                f"{k}: &{k} [{','.join([f'*{p}'] * 10)}]\n"
                for p, k in zip("abcdefgh", "bcdefghi", strict=True)
            ),
            1,
            "use fewer aliases",
        ),
    ],
    ids=range(27),
)
def test_invalid_yaml_is_reported_in_one_line(
    text: str | bytes, line: int | None, expected: str, tmp_path: Path
) -> None:
    """Empty, binary, broken, recursive and too large documents are refused."""
    message = _refusal(tmp_path / "j.yaml", text)
    assert expected in message
    assert message.startswith(f"{tmp_path / 'j.yaml'}:{'' if line is None else f'{line}:'}")


def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    """A missing file and a directory have messages of their own."""
    assert "there is no such file" in _refusal(tmp_path / "none.yaml")
    assert "is a directory" in _refusal(tmp_path)


def test_the_first_of_several_errors_is_reported_with_their_number(tmp_path: Path) -> None:
    """The message has the first error in the file's order, and the number of others."""
    text = GOOD.replace("every: 60s", "every: 60").replace("300 MB", "300")
    message = _refusal(tmp_path / "j.yaml", text)
    assert "probes.latency.every" in message
    assert message.endswith("(and 1 more in this file)")


def _open_to_others(home: Path) -> None:
    (home / "secrets/api").chmod(0o644)


def _key_of_another(home: Path) -> None:
    other = tls.Files(home / "other")
    tls.make_authority(other, "other", NOW, ["x"])
    tls.make_certificate(other, ["x"], [], NOW)
    (home / "tls/hub.key").write_bytes(other.key.read_bytes())


def _with_mark(home: Path) -> None:
    (home / "secrets/api").write_text("x" * 40, "utf-8-sig")


@pytest.mark.parametrize(
    ("harm", "key", "expected"),
    [
        (lambda h: (h / "tls/hub.pem").unlink(), "hub.tls.certificate", "jharnet-monitor tls init"),
        (lambda h: (h / "tls/hub.key").unlink(), "hub.tls.key", "jharnet-monitor tls init"),
        (lambda h: (h / "tls/hub.pem").write_text("x"), "hub.tls.certificate", "no PEM"),
        (lambda h: (h / "tls/hub.key").write_text("x"), "hub.tls.key", "no PEM key"),
        (_key_of_another, "hub.tls.key", "name two that belong together"),
        (lambda h: (h / "tls/hub.key").chmod(0o640), "hub.tls.key", "run `chmod 600 "),
        (_open_to_others, "hub.api_token_file", "(mode 644); run `chmod 600 "),
        (lambda h: (h / "secrets/api").unlink(), "hub.api_token_file", "monitor token --api"),
        (lambda h: (h / "secrets/api").write_text("\n"), "hub.api_token_file", "is empty; make it"),
        (lambda h: (h / "secrets/api").write_text("short"), "hub.api_token_file", "than 16"),
        (_with_mark, "hub.api_token_file", "begins with a byte order mark; save it without one"),
        (
            lambda h: (h / "secrets/potka").unlink(),
            "offices[0].agent.token_hash_file",
            "make it with `jharnet-monitor token potka --config ",
        ),
        (
            lambda h: (h / "secrets/potka").write_text("the token itself"),
            "offices[0].agent.token_hash_file",
            "contains no token hash",
        ),
        (lambda h: (h / "secrets/smtp").unlink(), "report.smtp.password_file", "into it"),
        (lambda h: (h / "secrets/smtp").write_text("a\nb"), "report.smtp.password_file", "one"),
    ],
    ids=range(15),
)  # fmt: skip
def test_a_faulty_secret_is_reported_with_its_remedy(
    home: Path, harm: Callable[[Path], object], key: str, expected: str
) -> None:
    """Missing, empty, wrong or unprotected files are refused, with the command that fixes them."""
    load_config(home / "j.yaml")
    harm(home)
    message = _refusal(home / "j.yaml")
    assert re.match(rf"{re.escape(str(home))}/j.yaml:\d+: {re.escape(key)}: ", message)
    assert expected in message


LONG = "x" * 300
"""A name that no file system takes."""


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("tls/hub.pem", LONG, "hub.tls.certificate"),
        ("tls/hub.key", LONG, "hub.tls.key"),
        ("secrets/api", LONG, "hub.api_token_file"),
        ("  udp_ports", f"  accounts_file: {LONG}\n  udp_ports", "hub.accounts_file"),
        ("secrets/potka", LONG, "offices[0].agent.token_hash_file"),
        ("  bandwidth:", f"  service: {{services: [{{name: x, url: 'https://x', ca: {LONG}}}]}}\n"
         "  bandwidth:", "probes.service.services[0].ca"),
        ("secrets/smtp", LONG, "report.smtp.password_file"),
        ("user: jharnet", f"ca: {LONG}, user: jharnet", "report.smtp.ca"),
        ("user: jharnet", "ca: secrets, user: jharnet", "report.smtp.ca"),
    ],
    ids=range(9),
)  # fmt: skip
def test_a_file_that_cannot_be_looked_at_is_reported_with_its_key(
    home: Path, old: str, new: str, key: str
) -> None:
    """A name that is too long and a directory give what opening the file gives."""
    message = _refusal(home / "j.yaml", GOOD.replace(old, new, 1))
    assert re.match(rf"{re.escape(str(home))}/j.yaml:\d+: {re.escape(key)}: ", message)
    assert "File name too long" in message or "Is a directory" in message


def test_secrets_may_be_missing_for_the_commands_that_make_them(tmp_path: Path) -> None:
    """`files=False` loads a configuration without its secrets."""
    (tmp_path / "j.yaml").write_text(GOOD, "utf-8")
    assert load_config(tmp_path / "j.yaml", files=False).offices[0].id == "potka"


def test_paths_are_relative_to_the_configuration_file(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Certificates, tokens, reports and the SQLite file do not depend on the working directory."""
    monkeypatch.chdir("/")
    config = load_config(home / "j.yaml")
    assert config.hub.tls
    assert config.hub.tls.certificate == home / "tls/hub.pem"
    assert config.hub.database == f"sqlite:///{home}/monitor.db"
    assert config.report.directory == home / "reports"
    absolute = GOOD.replace("sqlite:///monitor.db", "sqlite:////var/lib/j.db")
    (home / "j.yaml").write_text(absolute, "utf-8")
    assert load_config(home / "j.yaml").hub.database == "sqlite:////var/lib/j.db"


def test_quantities_are_read_in_base_units(home: Path) -> None:
    """The model has bit/s, seconds, ratios and bytes."""
    config = load_config(home / "j.yaml")
    assert config.hub.uplink.contracted == 34e6
    assert config.probes.bandwidth.every == 7200
    assert config.thresholds.jitter == 0.04
    assert config.budget == 300_000_000
    assert config.offices[0].link is not None
    assert config.offices[0].link.sla == 0.995
    assert config.hub.udp_range == (40000, 40199)
    assert config.district.office_hours.weekdays == frozenset(range(6))


def test_anchors_and_merges_work(home: Path) -> None:
    """Shared keys may be written once; an error in them is reported at their line."""
    text = GOOD.replace("    link: {con", "    link: &line {con").replace(
        "    router: 10.8.4.1\n", "    router: 10.8.4.1\n    link: {<<: *line, kind: radio}\n"
    )
    (home / "j.yaml").write_text(text, "utf-8")
    link = load_config(home / "j.yaml").offices[1].link
    assert link is not None
    assert (link.contracted, link.kind) == (4e6, "radio")
    message = _refusal(home / "j.yaml", text.replace(" 4 Mbit/s", " 4"))
    assert "offices[0].link.contracted" in message


def test_tls_off_is_allowed_and_warned_about(home: Path) -> None:
    """YAML 1.1 reads `off` as False and YAML 1.2 as text; both are accepted."""
    for written in ("off", '"off"', "false"):
        text = GOOD.replace("{certificate: tls/hub.pem, key: tls/hub.key}", written)
        (home / "j.yaml").write_text(text, "utf-8")
        config = load_config(home / "j.yaml")
        assert config.hub.tls is False
        assert any(w.startswith("hub.tls: is off") for w in warnings(config, NOW))


def test_warnings_name_what_is_missing_or_expires_soon(home: Path) -> None:
    """An office without agent or contract, an expiring certificate, a small budget."""
    text = GOOD.replace("every: 2h", "every: 10s").replace("  to: [dc@example.in]\n", "")
    (home / "j.yaml").write_text(text, "utf-8")
    config = load_config(home / "j.yaml")
    text = "\n".join([*warnings(config, NOW + timedelta(days=800)), *budget_warnings(config)])
    for part in ("expires in 25 days", "boram without agent", "boram without link", "budget: the",
                 "sent to nobody"):  # fmt: skip
        assert part in text
    assert "has expired" in "\n".join(warnings(config, NOW + timedelta(days=830)))


def test_a_small_budget_is_shown_as_it_was_written(home: Path) -> None:
    """Not as a power of ten."""
    (home / "j.yaml").write_text(GOOD.replace("budget: 300 MB", "budget: 1 B"), "utf-8")
    [warning] = budget_warnings(load_config(home / "j.yaml"))
    assert "and the budget is 1 B; " in warning


@pytest.mark.parametrize(
    ("days", "working", "never"),
    [("sun", "mon-sat", "sun"), ("wed,sat,sun", "mon-fri", "sat, sun"), ("wed", "mon-sat", None)],
)
def test_a_drill_that_is_never_held_is_warned_of(
    home: Path, days: str, working: str, never: str | None
) -> None:
    """Planned drills are held on working days only."""
    text = GOOD.replace("days: mon-sat", f"days: '{working}'").replace(
        "  bandwidth:", f"  drill: {{at: ['16:00'], days: '{days}'}}\n  bandwidth:"
    )
    (home / "j.yaml").write_text(text, "utf-8")
    found = [w for w in warnings(load_config(home / "j.yaml"), NOW) if "probes.drill" in w]
    says = f"no drill is ever held on {never}: the working days are {working}"
    assert [says in one for one in found] == [True] * (never is not None)


@pytest.mark.parametrize(
    ("access", "says"),
    [
        ("", "neither accounts nor a token"),
        ("  accounts_file: accounts\n", "run `jharnet-monitor account add NAME`"),
        ("  api_token_file: secrets/api\n", None),
    ],
)
def test_a_hub_that_nobody_can_read_is_warned_of(home: Path, access: str, says: str | None) -> None:
    """`reading: accounts` without an account and without a token."""
    old = "  api_token_file: secrets/api\n"
    (home / "j.yaml").write_text(GOOD.replace(old, f"  reading: accounts\n{access}"), "utf-8")
    found = [w for w in warnings(load_config(home / "j.yaml"), NOW) if w.startswith("hub.reading")]
    assert [says is not None and says in one for one in found] == [True] * (says is not None)


def test_names_may_have_the_joiners_of_their_script(home: Path) -> None:
    """Words of Hindi are written with them, and they are no control characters."""
    name = "पूर्वी सिंहभूम क्\u200dष\u200cत"
    (home / "j.yaml").write_text(GOOD.replace("पूर्वी सिंहभूम", name), "utf-8")
    assert load_config(home / "j.yaml").district.name_hi == name


def test_a_number_in_another_base_is_one_error(home: Path) -> None:
    """Counted once, also beside an error of another kind."""
    text = GOOD.replace("    name: Boram\n", "    name: Boram\n    seats: 010\n")
    assert _refusal(home / "j.yaml", text).endswith('"010" in quotes for text')
    text = text.replace("name: Potka", "name: 0123")
    assert 'in quotes: "0123" (and 1 more' in _refusal(home / "j.yaml", text)


@pytest.mark.parametrize("profile", Profile)
def test_the_budget_warning_counts_calls_as_the_probe_does(home: Path, profile: Profile) -> None:
    """`check-config` uses the same bytes per call as the conference probe."""
    (home / "j.yaml").write_text(GOOD, "utf-8")
    config = load_config(home / "j.yaml")
    calls = {
        times: config.model_copy(update={"probes": config.probes.model_copy(update={
            "conference": ConferenceProbe(at=times, profile=profile),
        })})
        for times in ((), ("11:00", "15:00"))
    }  # fmt: skip
    office = config.office("potka")
    without, with_two = (planned_bytes(each, office) for each in calls.values())
    context = ProbeContext(calls["11:00", "15:00"], office, ManualClock(NOW), None)
    assert with_two - without == 2 * PROBES["conference"].cost(context)


def test_a_planned_drill_is_counted_with_its_gallery(home: Path) -> None:
    """`check-config` counts a drill's bytes as the drill itself checks them before it starts."""
    (home / "j.yaml").write_text(GOOD, "utf-8")
    config = load_config(home / "j.yaml")
    plan = PlannedDrill(at=("15:30",), profile=Profile.P720, minutes=5)
    planned = config.model_copy(update={"probes": config.probes.model_copy(update={"drill": plan})})
    office = config.office("potka")
    cost = planned_bytes(planned, office) - planned_bytes(config, office)
    assert cost == drill_bytes(Profile.P720, 300, len(config.offices))
    assert cost > call_bytes(Profile.P720.rung, Profile.P720.rung, 300)


def test_texts_of_several_lines_are_taken_where_they_make_sense(tmp_path: Path) -> None:
    """A directive is printed as one line, however it was written; `ship` may be a whole script."""
    directive = 'report:\n  directive: "Test conferences\\n  and report."\n'
    ship = 'backup: {at: "02:30", ship: [sh, -c, "cd /x\\n\\trsync -a {backup} y"]}\n'
    text = GOOD.replace("report:\n", directive) + ship
    (tmp_path / "jharnet.yaml").write_text(text, "utf-8")
    found = load_config(tmp_path / "jharnet.yaml", files=False)
    assert found.report.directive == "Test conferences and report."
    assert found.backup is not None and found.backup.ship[-1] == "cd /x\n\trsync -a {backup} y"


def test_the_shipped_configuration_lacks_only_its_secrets(tmp_path: Path) -> None:
    """It has eleven complete offices; only its secrets are missing."""
    shipped = (ROOT / "config/jharnet.yaml").read_text("utf-8")
    (tmp_path / "jharnet.yaml").write_text(shipped, "utf-8")
    config = load_config(tmp_path / "jharnet.yaml", files=False)
    assert len(config.offices) == 11
    assert all(o.router and o.pc and o.link and o.agent for o in config.offices)
    message = _refusal(tmp_path / "jharnet.yaml")
    assert "hub.tls.certificate: there is no file" in message
    assert "`jharnet-monitor tls init" in message


def test_the_schema_for_editors_is_up_to_date() -> None:
    """`python -m jharnet_monitor.config.json_schema > config/jharnet.schema.json` updates it."""
    assert (ROOT / "config/jharnet.schema.json").read_text("utf-8") == config_schema()


def test_the_schema_has_descriptions_and_formatted_defaults() -> None:
    """Editors show the docstrings, and defaults with their units."""
    schema = json.loads(config_schema())
    hub = schema["$defs"]["HubSettings"]["properties"]
    assert hub["udp_ports"]["description"]
    assert schema["properties"]["budget"]["default"] == "300MB"
    assert schema["$defs"]["LatencyProbe"]["properties"]["every"]["default"] == "1min"


def test_the_schema_accepts_the_shipped_file_and_refuses_wrong_values() -> None:
    """The schema is never stricter than the hub."""
    validator = Draft202012Validator(json.loads(config_schema()))
    shipped = yaml.safe_load((ROOT / "config/jharnet.yaml").read_text("utf-8"))
    assert list(validator.iter_errors(shipped)) == []
    shipped["hub"]["tls"] = "off"  # YAML 1.2, which many editors speak, has no such boolean
    assert validator.is_valid(shipped)
    for wrong in ({"budget": "300"}, {"buget": "300 MB"}, {"probes": {"latency": {"every": 60}}}):
        assert not validator.is_valid(shipped | wrong)


def test_four_thousand_offices_load_in_seconds(tmp_path: Path) -> None:
    """Checking stays fast for all offices of a state."""
    office = "  - {{id: o-{0}, name: O {0}, name_hi: ओ, router: 10.{1}.{2}.2}}\n"
    head, tail = GOOD.partition("offices:\n")[0], "report: {languages: [hi]}\n"
    text = head + "offices:\n" + "".join(office.format(n, n // 250, n % 250) for n in range(4000))
    (tmp_path / "j.yaml").write_text(text + tail, "utf-8")
    assert len(load_config(tmp_path / "j.yaml", files=False).offices) == 4000


def test_other_models_are_read_with_the_same_messages(tmp_path: Path) -> None:
    """`load_yaml_model` reads other files, such as the lab's."""
    (tmp_path / "x.yaml").write_text("distrct: 1\n", "utf-8")
    with pytest.raises(UserError, match=r"x.yaml:1: distrct: unknown key; did you mean `district`"):
        load_yaml_model(tmp_path / "x.yaml", Config)


@given(st.integers(1, 10**7))
def test_formatted_quantities_parse_back(n: int) -> None:
    """Parsing a formatted quantity returns the same value."""
    assert parse_duration(format_quantity(n / 1000, "duration")) == pytest.approx(n / 1000)
    assert parse_size(format_quantity(n, "size")) == n
    assert parse_ratio(format_quantity(n / 10**7, "ratio")) == pytest.approx(n / 10**7)


def test_the_shipped_agent_file_is_valid() -> None:
    """It has no unknown key, and its paths are relative to it."""
    agent = load_yaml_model(ROOT / "config/agent.yaml", AgentFile)
    assert agent.office == "potka"
    assert agent.token_file == ROOT / "config/token"
