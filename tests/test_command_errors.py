"""What a command says where it cannot do what it is given: one line, its exit code, no harm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest

from jharnet_monitor import __version__, cli
from jharnet_monitor.clock import SystemClock
from jharnet_monitor.security import accounts, tls, tokens
from jharnet_monitor.security.enrolment import Enrolment, accept
from jharnet_monitor.store import Store
from tests.empty_database import write_empty_database
from tests.made_up import latency
from tests.test_exit_codes import CONFIG

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """A function that runs a command in the hub's directory; returns exit code, stdout, stderr."""
    (tmp_path / "hub.yaml").write_text(
        CONFIG.format(listen="127.0.0.1:1", database="sqlite:///monitor.db").replace(
            "pc: 127.0.0.2", "pc: 127.0.0.2, agent: {token_hash_file: secrets/potka}"
        ),
        "utf-8",
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JHARNET_CONFIG", "hub.yaml")

    def run_command(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["jharnet-monitor", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, error = capsys.readouterr()
        return int(ended.value.code or 0), out, error

    return run_command


def line_of(ended: tuple[int, str, str], code: int) -> str:
    """The one line on standard error of a command that ended with this exit code."""
    assert (ended[0], ended[2].count("\n")) == (code, 1), ended
    assert ended[2].startswith("error: "), ended
    return ended[2]


def program(*arguments: str, output: str, **environment: str) -> tuple[int, str, str]:
    """Run the program with its output in a file; returns exit code, nothing and stderr."""
    with Path(output).open("wb") as file:
        done = subprocess.run(
            [sys.executable, "-m", "jharnet_monitor", *arguments],
            stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.PIPE, text=True, timeout=110,
            check=False, env=os.environ | environment, start_new_session=True,
        )  # fmt: skip
    return done.returncode, "", done.stderr


FULL = "/dev/full"
"""What takes nothing, as a full disk does."""


def test_the_version_is_printed(run: Run) -> None:
    """Without a command and a configuration."""
    assert run("--version") == (0, f"jharnet-monitor {__version__}\n", "")


# --- the output


@pytest.mark.parametrize("buffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize(
    "arguments", [("--help",), ("check-config", "hub.yaml"), ("check-config", "hub.yaml", "--json")]
)
def test_an_output_that_takes_nothing_is_one_line(
    run: Run, arguments: tuple[str, ...], buffered: str
) -> None:
    """Exit code 1, and no second line by the interpreter as it ends."""
    assert run("token", "potka")[0] == 0
    ended = program(*arguments, output=FULL, PYTHONUNBUFFERED=buffered)
    assert "the output cannot be written: No space left on device" in line_of(ended, 1)


def test_an_output_without_hindi_shows_escapes(run: Run, tmp_path: Path) -> None:
    """Where the locale has ASCII alone."""
    assert run("token", "potka")[0] == 0
    ended = program("check-config", "hub.yaml", output="out", PYTHONIOENCODING="ascii")
    assert ended == (0, "", "")
    assert "East Singhbhum (\\u092a" in (tmp_path / "out").read_text("ascii")


def test_a_token_that_cannot_be_printed_replaces_none(run: Run, tmp_path: Path) -> None:
    """The office keeps the token that it has."""
    assert run("token", "potka")[0] == 0
    file = tmp_path / "secrets/potka"
    before = file.read_text()
    for more in ((), ("--json",)):
        ended = program("token", "potka", "--force", *more, output=FULL)
        assert "cannot be printed: No space left on device; nothing was re" in line_of(ended, 1)
        assert file.read_text() == before


def test_tokens_that_were_printed_and_not_stored_are_named(run: Run, tmp_path: Path) -> None:
    """Here the cards cannot be written, before any token is stored."""
    (tmp_path / "card").mkdir()
    ended = run("token", "potka", "--card", "card")
    assert "the tokens printed for potka do not work, older ones do" in line_of(ended, 2)
    assert not (tmp_path / "secrets/potka").exists()


# --- values that are quoted


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ('"two\\nlines": 1', "two\\nlines"),
        ('report: {to: ["a@x.in\\nBcc: y"]}', "a@x.in\\nBcc: y"),
        ('"red\\e[31m": 1', "red\\x1b[31m"),
        ('"a\\u2028b\\u202e": 1', "a\\u2028b\\u202e"),
    ],
    ids=["key", "value", "escape", "separator"],
)
def test_quoted_values_keep_to_the_line(run: Run, tmp_path: Path, written: str, shown: str) -> None:
    """A control character neither begins a line nor commands the terminal."""
    with (tmp_path / "hub.yaml").open("a", encoding="utf-8") as file:
        file.write(written + "\n")
    assert shown in line_of(run("check-config", "hub.yaml"), 2)


@pytest.mark.parametrize("name", ["East [/old] Singhbhum", "East [old] Singhbhum", "East :ok: S"])
def test_names_are_printed_as_they_are(run: Run, tmp_path: Path, name: str) -> None:
    """Square brackets are no markup, and words between colons no emoji."""
    text = Path("hub.yaml").read_text("utf-8").replace("East Singhbhum", f"'{name}'")
    Path("hub.yaml").write_text(text, "utf-8")
    assert run("token", "potka")[0] == 0
    code, out, error = run("check-config", "hub.yaml")
    assert (code, error) == (0, "") and f"{name} (पूर्वी सिंहभूम)" in out
    write_empty_database(tmp_path / "monitor.db")
    code, out, error = run("db", "backup", f"{name}.db")
    assert (code, error) == (0, "") and out.startswith(f"{name}.db: ")


def test_what_is_no_pdf_is_one_line(run: Run, tmp_path: Path) -> None:
    """The library that reads it says nothing of its own."""
    (tmp_path / "state.yaml").write_text(
        "name: J\nname_hi: झ\ntls: off\ndatabase: 'sqlite:///s.db'\nlisten: 127.0.0.1:0\n"
        "districts: [{id: d, name: D, name_hi: द, keys: []}]\n", "utf-8",
    )  # fmt: skip
    ended = program("state", "verify", "hub.yaml", "--state", "state.yaml", output="out")
    assert "hub.yaml: is no PDF" in line_of(ended, 2)


# --- files that are there


def refused_backup(run: Run, target: str | Path) -> str:
    """The line about a backup that is refused; what lies in the directory stays as it is."""
    before = {file: file.read_bytes() for file in Path().iterdir() if file.is_file()}
    message = line_of(run("db", "backup", target), 2)
    assert {file: file.read_bytes() for file in Path().iterdir() if file.is_file()} == before
    return message


@pytest.mark.parametrize(
    "target",
    [
        "monitor.db", "sub/../monitor.db", "link", "hard", "monitor.db-wal", "monitor.db-owner",
        "monitor.db-waiting", "hub.yaml", "secrets/potka", "notes.txt", "other.db",
    ],
)  # fmt: skip
def test_a_backup_replaces_nothing_but_a_backup(run: Run, tmp_path: Path, target: str) -> None:
    """Under whatever name: the hub would write into a file that nobody can open any more."""
    write_empty_database(tmp_path / "monitor.db")
    (tmp_path / "sub").mkdir()
    (tmp_path / "link").symlink_to("monitor.db")
    (tmp_path / "hard").hardlink_to(tmp_path / "monitor.db")
    (tmp_path / "notes.txt").write_text("SQLite is a database")
    write_empty_database(tmp_path / "other.db")
    (tmp_path / "other.db-owner").touch()
    assert run("token", "potka")[0] == 0
    assert target in refused_backup(run, target)


def test_an_earlier_backup_is_replaced(run: Run, tmp_path: Path) -> None:
    """Every night the same file may be written."""
    write_empty_database(tmp_path / "monitor.db")
    for _ in range(2):
        assert run("db", "backup", "copies/copy.db")[0] == 0


def test_a_key_of_the_state_is_not_replaced(run: Run) -> None:
    """The line names nothing that the command does not have."""
    assert run("state", "key", "state.key")[0] == 0
    message = line_of(run("state", "key", "state.key"), 2)
    assert "exists already; name another file, or move it" in message


@pytest.mark.parametrize("alias", ["card.pdf", "../{}/card.pdf", "link.pdf"])
def test_the_signed_copy_is_not_the_original(run: Run, tmp_path: Path, alias: str) -> None:
    """The command promises a copy."""
    (tmp_path / "card.pdf").write_bytes(b"%PDF")
    (tmp_path / "link.pdf").symlink_to("card.pdf")
    out = alias.format(tmp_path.name)
    for action in (("field", "card.pdf"), ("with", "card.pdf", "k.p12", "--password-file", "p")):
        message = line_of(run("sign", *action, "--out", out), 2)
        assert "is the paper itself; name another file for the copy" in message
    assert (tmp_path / "card.pdf").read_bytes() == b"%PDF"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("tls", "init", "hub.yaml"), "hub.yaml"),
        (("enrol", "potka", "--out", "hub.yaml"), "hub.yaml"),
        (("demo", "--history", "1w", "--out", "hub.yaml/demo"), "hub.yaml/demo"),
        (("demo", "--minutes", "0", "--out", "hub.yaml/demo"), "hub.yaml/demo"),
    ],
    ids=["tls", "enrol", "history", "demo"],
)
def test_a_file_is_no_directory(run: Run, arguments: tuple[str, ...], named: str) -> None:
    """Wrong usage: one line, and exit code 2."""
    assert named in line_of(run(*arguments), 2)


def test_a_backup_is_restored_into_a_directory_only(run: Run, tmp_path: Path) -> None:
    """Also with `--replace`."""
    write_empty_database(tmp_path / "monitor.db")
    assert run("standby", "backup", "kept")[0] == 0
    [made] = (tmp_path / "kept").glob("d-*")
    for more in ((), ("--replace",)):
        message = line_of(run("standby", "restore", made, "--into", "hub.yaml", *more), 2)
        assert "hub.yaml: is no directory" in message


# --- enrolment


def test_an_enrolment_that_cannot_be_written_replaces_no_code(run: Run, tmp_path: Path) -> None:
    """The code that was handed out before still works."""
    assert run("enrol", "potka")[0] == 0
    carried = Enrolment.of(tokens.read_secret(tmp_path / "enrolments/potka.enrolment"))
    (tmp_path / "taken/potka.enrolment").mkdir(parents=True)
    for out in ("hub.yaml", "hub.yaml/below", "taken"):
        line_of(run("enrol", "potka", "--out", out), 2)
    now = SystemClock().now()
    accept(tmp_path / "secrets/potka", carried.code, tokens.hash_token("new"), now)
    assert [one.name for one in (tmp_path / "enrolments").iterdir()] == ["potka.enrolment"]


# --- certificates


def test_a_renewal_is_for_the_present_names(run: Run, tmp_path: Path) -> None:
    """As its page and its warning say it: without a name and an address."""
    host = ("--name", "hub.example.in", "--ip", "10.8.0.2", "--ip", "203.0.113.9")
    assert run("tls", "init", "tls", *host)[0] == 0
    file = tmp_path / "tls/hub.pem"
    first = (tls.read_certificate(file).serial_number, sorted(tls.certificate_hosts(file)))
    assert run("tls", "init", "tls", "--renew")[0] == 0
    again = (tls.read_certificate(file).serial_number, sorted(tls.certificate_hosts(file)))
    assert again[0] != first[0] and again[1] == first[1]


def test_the_warning_names_the_whole_command(run: Run, tmp_path: Path) -> None:
    """What it says can be run as it stands."""
    files, now = tls.Files(tmp_path / "tls"), datetime.now(UTC) - timedelta(days=810)
    tls.make_authority(files, "test", now)
    tls.make_certificate(files, ["localhost"], [ip_address("127.0.0.1")], now)
    text = Path("hub.yaml").read_text("utf-8")
    pair = "tls: {certificate: tls/hub.pem, key: tls/hub.key}"
    Path("hub.yaml").write_text(text.replace("tls: off", pair), "utf-8")
    assert run("token", "potka", "--hub", "https://h:1")[0] == 0
    command = f"jharnet-monitor tls init {files.directory} --renew"
    assert f"`{command}`" in run("check-config", "hub.yaml")[1].replace("\n", "")
    assert run(*command.split()[1:])[0] == 0
    assert "renew" not in run("check-config", "hub.yaml")[1]


# --- before the first run


@pytest.mark.parametrize(
    "arguments",
    [("report",), ("report", "drill"), ("db", "verify"), ("db", "backup", "copy"), ("db", "prune")],
    ids=" ".join,
)
def test_without_a_database_yet_it_is_exit_code_1(run: Run, arguments: tuple[str, ...]) -> None:
    """The hub makes it; that may happen while nobody looks."""
    assert "there is no database yet; `jharnet-monitor run`" in line_of(run(*arguments), 1)


def test_without_a_drill_yet_it_is_exit_code_1(run: Run, tmp_path: Path) -> None:
    """Another name than any drill has is wrong usage."""
    write_empty_database(tmp_path / "monitor.db")
    assert "`jharnet-monitor drill` holds one" in line_of(run("report", "drill"), 1)
    assert "no drill `x` in the database" in line_of(run("report", "drill", "x"), 2)


def test_the_doctor_names_a_directory_that_is_missing(run: Run, tmp_path: Path) -> None:
    """And goes on to what it checks next."""
    text = Path("hub.yaml").read_text("utf-8").replace("monitor.db", "none/below/monitor.db")
    Path("hub.yaml").write_text(text, "utf-8")
    assert run("token", "potka")[0] == 0
    code, out, error = run("doctor", "--json")
    found = {one["what"]: one for one in json.loads(out)}
    assert (code, error) == (1, "")
    assert found["database"]["found"] == f"the directory {tmp_path}/none/below does not exist"
    assert found["database"]["remedy"].startswith("make it")
    assert found["disk"]["verdict"] == "ok"


# --- periods


@pytest.mark.parametrize(
    "arguments",
    [
        ("--from", "0001-01-01", "--to", "9999-12-31"),
        ("--from", "1900-01-01", "--to", "2026-11-01"),
        ("--week", "9999-W52"), ("--day", "9999-12-31"), ("--month", "0000-01"),
        ("--quarter", "9999-Q4"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_period_that_nobody_measured_is_refused(run: Run, arguments: tuple[str, ...]) -> None:
    """Years that a slip of the finger writes."""
    assert "must be in the years 2000 to 2100" in line_of(run("report", *arguments), 2)


def test_a_report_begins_with_what_was_measured(run: Run, tmp_path: Path) -> None:
    """Years before the first measurement and years to come are left out, and its name says so."""
    write_empty_database(tmp_path / "monitor.db")
    store, now = Store("sqlite:///monitor.db", SystemClock()), SystemClock().now()
    store.add([latency("potka", now - timedelta(days=3))])
    store.close()
    code, out, error = run(
        "report", "--from", "2000-01-01", "--to", "2100-12-31", "--format", "csv", "--lang", "en",
        "--out", "out", "--json",
    )  # fmt: skip
    assert (code, error) == (0, "")
    began, ended = json.loads(out)["period"].split("_")
    zone = timedelta(hours=5.5)
    assert began == f"{now - timedelta(days=3) + zone:%Y-%m-%d}"
    assert ended in [f"{moment + zone:%Y-%m-%d}" for moment in (now, SystemClock().now())]


def test_a_week_that_runs_is_not_handed_in(run: Run) -> None:
    """The state would refuse it."""
    assert run("token", "potka")[0] == 0
    assert run("state", "key", "state.key")[0] == 0
    with Path("hub.yaml").open("a", encoding="utf-8") as file:
        file.write("state: {url: 'https://state.example.in:9797', key_file: state.key}\n")
    today = (datetime.now(UTC) + timedelta(hours=5.5)).isocalendar()
    week = f"{today.year}-W{today.week:02}"
    assert f"{week}: the week is not over" in line_of(run("state", "push", "--week", week), 2)


# --- accounts


@pytest.fixture
def with_accounts(run: Run) -> Run:
    """A hub with a file of accounts."""
    text = Path("hub.yaml").read_text("utf-8")
    Path("hub.yaml").write_text(
        text.replace("tls: off", "tls: off, accounts_file: secrets/accounts"), "utf-8"
    )
    return run


def test_nobody_to_ask_for_a_password_is_one_line(with_accounts: Run) -> None:
    """Wrong usage: two options are named that need nobody."""
    message = line_of(program("account", "add", "x", output="out"), 2)
    assert "give --password-file or --generate" in message


def test_a_generated_password_never_has_the_name(with_accounts: Run, tmp_path: Path) -> None:
    """A name of one letter is in every second password; the hash takes 0.2 s each."""
    for _ in range(8):
        code, out, error = with_accounts("account", "add", "x", "--generate", "--force")
        assert (code, error) == (0, "")
    password = out.split()[1]
    account = accounts.read_accounts(tmp_path / "secrets/accounts")["x"]
    assert accounts.has_password(account, password)


def test_a_password_that_cannot_be_printed_is_not_stored(
    with_accounts: Run, tmp_path: Path
) -> None:
    """Nobody could sign in with it."""
    line_of(program("account", "add", "x", "--generate", output=FULL), 1)
    assert not (tmp_path / "secrets/accounts").exists()
