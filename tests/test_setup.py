"""Tokens, certificates, and the commands that make them."""

from __future__ import annotations

import os
import re
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from socket import create_connection, create_server

import pytest

from jharnet_monitor import cli
from jharnet_monitor.commands.agent import _agent_settings
from jharnet_monitor.config.addresses import hub_url
from jharnet_monitor.config.load import load_config
from jharnet_monitor.errors import UserError
from jharnet_monitor.security import tls, tokens
from tests.wrong_configs import GOOD

NOW = datetime.now(UTC)


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """A function that runs a command and returns exit code, stdout and stderr."""

    def run_command(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["jharnet-monitor", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, error = capsys.readouterr()
        return int(ended.value.code or 0), out, error

    return run_command


# --- tokens


def test_a_token_has_256_bits_and_matches_only_its_own_hash(tmp_path: Path) -> None:
    """The file contains only the hash, and no other token matches it."""
    token, other = tokens.make_token(), tokens.make_token()
    assert token != other
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", token)
    file = tmp_path / "potka"
    tokens.write_secret(file, tokens.hash_token(token) + "\n")
    assert token not in file.read_text()
    assert tokens.matches(token, file)
    not_utf8 = "\udcff", "\ud800"  # as a header and as JSON may hold it
    for wrong in (other, "", token[:-1], token + "x", tokens.hash_token(token), "é", *not_utf8):
        assert not tokens.matches(wrong, file)


@pytest.mark.parametrize(
    "harm",
    [
        lambda f: f.unlink(),
        lambda f: f.write_text(""),
        lambda f: f.write_text("sha256:"),
        lambda f: f.write_bytes(b"\xff\xfe"),
        lambda f: f.chmod(0o604),
    ],
    ids=["missing", "empty", "no hash", "binary", "open to others"],
)
def test_no_token_matches_a_faulty_hash_file(
    tmp_path: Path, harm: Callable[[Path], object]
) -> None:
    """A missing, empty, unreadable or unprotected file matches no token and raises nothing."""
    file = tmp_path / "potka"
    tokens.write_secret(file, tokens.hash_token("t"))
    harm(file)
    assert not tokens.matches("t", file)
    assert not tokens.matches("", file)


def test_secrets_are_private_and_not_replaced_by_accident(tmp_path: Path) -> None:
    """Mode 600 whatever the umask; overwriting needs `replace`; no temporary file remains."""
    file = tmp_path / "secrets" / "x"
    before = os.umask(0)
    try:
        tokens.write_secret(file, "one")
    finally:
        os.umask(before)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    with pytest.raises(UserError, match="exists already"):
        tokens.write_secret(file, "two")
    assert tokens.read_secret(file) == "one"
    tokens.write_secret(file, "two", replace=True)
    assert tokens.read_secret(file) == "two"
    assert [p.name for p in file.parent.iterdir()] == ["x"]


@pytest.mark.root
def test_files_written_by_root_belong_to_the_directorys_owner(tmp_path: Path) -> None:
    """The hub's user can read a secret that root wrote into the hub's directory."""
    os.chown(tmp_path, 4242, 4243)
    tokens.write_secret(tmp_path / "secrets" / "x", "one")
    for path in (tmp_path / "secrets", tmp_path / "secrets" / "x"):
        assert (path.stat().st_uid, path.stat().st_gid) == (4242, 4243)


def test_a_systemd_credential_may_be_group_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its group bits come from an ACL; elsewhere the same mode is refused."""
    file = tmp_path / "token"
    tokens.write_secret(file, "one")
    file.chmod(0o440)
    with pytest.raises(UserError, match="run `chmod 600"):
        tokens.read_secret(file)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert tokens.read_secret(file) == "one"


# --- certificates


@pytest.fixture
def files(tmp_path: Path) -> tls.Files:
    """An authority and a certificate for hub.example and two addresses."""
    made = tls.Files(tmp_path / "tls")
    tls.make_authority(made, "test", NOW, ["hub.example"])
    addresses = [ip_address("127.0.0.1"), ip_address("::1")]
    tls.make_certificate(made, ["hub.example"], addresses, NOW)
    return made


def _handshake(files: tls.Files, name: str, ca: Path) -> str | None:
    """Connect by TLS with the strict checks of Python 3.13; returns the TLS version."""
    client = ssl.create_default_context(cafile=str(ca))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    server = create_server(("127.0.0.1", 0))
    context = tls.server_context(files)

    def serve() -> None:
        connection, _ = server.accept()
        try:
            context.wrap_socket(connection, server_side=True).close()
        except OSError:
            connection.close()  # the client refused the certificate

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with (
            create_connection(server.getsockname(), timeout=10) as raw,
            client.wrap_socket(raw, server_hostname=name) as secured,
        ):
            return secured.version()
    finally:
        thread.join(10)
        server.close()


@pytest.mark.parametrize("name", ["hub.example", "127.0.0.1", "::1"])
def test_an_agent_that_trusts_the_authority_can_connect(files: tls.Files, name: str) -> None:
    """The certificate is valid for its names and addresses in OpenSSL's strict mode."""
    assert _handshake(files, name, files.authority) in ("TLSv1.3", "TLSv1.2")


def test_a_wrong_name_or_authority_is_refused(files: tls.Files, tmp_path: Path) -> None:
    """An agent refuses a certificate for another name or from another authority."""
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(files, "other.example", files.authority)
    foreign = tls.Files(tmp_path / "foreign")
    tls.make_authority(foreign, "foreign", NOW)
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(files, "hub.example", foreign.authority)


def test_renewal_keeps_the_authority(files: tls.Files) -> None:
    """Agents with the authority's file trust the renewed certificate."""
    ca, key = files.authority.read_bytes(), files.key.read_bytes()
    tls.make_certificate(files, ["new.hub.example"], [], NOW)
    assert files.authority.read_bytes() == ca
    assert files.key.read_bytes() != key
    assert _handshake(files, "new.hub.example", files.authority)
    assert tls.certificate_hosts(files.certificate) == ["new.hub.example"]


@pytest.mark.parametrize(
    ("names", "addresses"),
    [(["bank.example"], []), (["evilhub.example"], []), ([], [ip_address("8.8.8.8")])],
)
def test_the_authority_can_sign_for_nobody_else(
    files: tls.Files,
    names: list[str],
    addresses: list[IPv4Address | IPv6Address],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Browsers import it, and its key could sign for any site. Neither `--renew` nor a
    client takes it for another name."""
    with pytest.raises(UserError, match="the authority is not for that"):
        tls.make_certificate(files, names, addresses, NOW)
    monkeypatch.setattr(tls, "_refuse_others", lambda *_: None)
    tls.make_certificate(files, names, addresses, NOW)
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree"):
        _handshake(files, [*names, *map(str, addresses)][0], files.authority)


def test_a_renewed_certificate_is_served_without_a_restart(files: tls.Files) -> None:
    """The metric showed the file's end, and the old certificate was served on. Files
    that do not belong together are refused, and the old pair is served on."""
    served = tls.ServedCertificate(files)
    first = served.expires
    assert not served.refresh()
    tls.make_certificate(files, ["hub.example"], [], NOW + timedelta(days=30))
    assert served.expires == first, "what is served, not what the file holds"
    assert served.refresh()
    assert served.expires == first + timedelta(days=30)
    other = tls.Files(files.directory / "other")
    tls.make_authority(other, "other", NOW, ["hub.example"])
    tls.make_certificate(other, ["hub.example"], [], NOW)
    files.key.write_bytes(other.key.read_bytes())
    with pytest.raises(UserError, match="is not the key of"):
        served.refresh()
    assert served.expires == first + timedelta(days=30)


def test_keys_are_private_and_expiry_is_known(files: tls.Files) -> None:
    """Keys have mode 600; a clock that is some hours behind accepts the certificate."""
    for key in (files.key, files.authority_key):
        assert key.stat().st_mode & 0o777 == 0o600
    left = tls.certificate_expires(files.certificate) - NOW
    assert timedelta(days=824) < left <= timedelta(days=825)
    assert tls.read_certificate(files.certificate).not_valid_before_utc < NOW - timedelta(hours=23)


# --- commands


def test_check_config_names_the_command_for_each_missing_file(tmp_path: Path, run: Run) -> None:
    """Following its messages leads to a configuration that it accepts."""
    file = tmp_path / "j.yaml"
    file.write_text(GOOD, "utf-8")
    (tmp_path / "secrets").mkdir(0o700)
    tokens.write_secret(tmp_path / "secrets/smtp", "word")
    code, _, message = run("check-config", file)
    assert (code, message.count("\n")) == (2, 1)
    assert f"`jharnet-monitor tls init {tmp_path}/tls`" in message
    assert run("tls", "init", tmp_path / "tls", "--name", "hub.example", "--ip", "10.8.0.2")[0] == 0
    assert run("token", "--api", "--config", file)[0] == 0
    code, out, _ = run("token", "--all", "--config", file)
    assert code == 0
    made = re.search(r"join link +https://hub\.example:9797/join/potka#t=([\w-]{43})\n", out)
    assert made is not None
    assert tokens.matches(made[1], tmp_path / "secrets/potka")
    code, out, message = run("check-config", file)
    assert (code, message) == (0, "")
    assert out.endswith(f"ok: {file}\n")
    assert "warning: boram without agent" in out


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("listen: 0.0.0.0:9797", "https://hub.example:9797"),
        ("listen: 10.8.0.2:9797", "https://10.8.0.2:9797"),
        ("listen: '[fd00::2]:443'", "https://[fd00::2]:443"),
        ("listen: 0.0.0.0:9797\n  url: https://monitor.example.in/", "https://monitor.example.in"),
        ("listen: 0.0.0.0:9797\n  url: http://10.1.2.3:80/hub", "http://10.1.2.3:80/hub"),
    ],
)
def test_the_hubs_url(tmp_path: Path, written: str, url: str) -> None:
    """`hub.url`, else the address in `listen`, else the first name in the certificate."""
    made = tls.Files(tmp_path / "tls")
    tls.make_authority(made, "east-singhbhum", NOW, ["hub.example"])
    tls.make_certificate(made, ["localhost", "hub.example"], [], NOW)
    file = tmp_path / "j.yaml"
    file.write_text(GOOD.replace("listen: 0.0.0.0:9797", written), "utf-8")
    assert hub_url(load_config(file, files=False).hub) == url


def test_without_a_certificate_the_url_has_the_machines_name(tmp_path: Path) -> None:
    """The machine's name is the last resort."""
    file = tmp_path / "j.yaml"
    file.write_text(GOOD, "utf-8")
    assert hub_url(load_config(file, files=False).hub) == f"https://{socket.gethostname()}:9797"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["token", "nowhere"], "no office `nowhere`; the configuration has potka, boram"),
        (["token", "boram"], "boram has no agent; add `agent: {token_hash_file: secrets/boram}`"),
        (["token"], "name one OFFICE, or --all, or --api"),
        (["token", "potka", "--hub", "hub.example"], "must be https://HOST:9797"),
        (["token", "potka", "--hub", "https://[::1"], "such as https://HOST:9797, not `https://["),
        (["token", "potka", "--hub", "https://a..in"], "such as https://HOST:9797, not `https://a"),
        (["token", "potka"], "exists already; give --force to replace it"),
    ],
)
def test_wrong_use_of_token_is_reported_in_one_line(
    tmp_path: Path, run: Run, arguments: list[str], message: str
) -> None:
    """Exit code 2 and a remedy; an existing file is kept."""
    (tmp_path / "j.yaml").write_text(GOOD, "utf-8")
    tokens.write_secret(tmp_path / "secrets/potka", "kept")
    code, out, error = run(*arguments, "--config", tmp_path / "j.yaml")
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert message in error
    assert tokens.read_secret(tmp_path / "secrets/potka") == "kept"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--name", "not a name"], "must be a host name such as hub.example.in"),
        (["--ip", "10.8.0"], "give one such as 10.8.0.2"),
        (["--renew"], "there is no such file"),
    ],
)
def test_wrong_use_of_tls_init_is_reported_in_one_line(
    tmp_path: Path, run: Run, arguments: list[str], message: str
) -> None:
    """Exit code 2 and a remedy; no file is written."""
    code, out, error = run("tls", "init", tmp_path / "tls", *arguments)
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert message in error
    assert not (tmp_path / "tls").exists()


@pytest.mark.parametrize("name", ["hub.key", "hub.pem"])
def test_tls_init_keeps_what_another_authority_made(tmp_path: Path, run: Run, name: str) -> None:
    """A key in that directory may be the only copy."""
    (tmp_path / name).write_text("of the department")
    code, out, error = run("tls", "init", tmp_path, "--name", "hub.example")
    assert (code, out) == (2, "")
    assert f"{tmp_path / name}: exists already; name another directory, or move it" in error
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "of the department"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("offce: potka\n", "a.yaml:1: offce: unknown key; did you mean `office`?"),
        ("hub: wss://h/agent\noffice: Potka\n", "a.yaml:2: office: must be lower-case letters"),
        ("hub: wss://h/agent\noffice: potka\n", "--token-file is missing"),
        ("office: potka\nhub: h\n", "a.yaml:2: hub: must be wss://HOST:9797/agent"),
        ("hub: 'wss://[::1/agent'\n", "a.yaml:1: hub: must be wss://HOST:9797/agent"),
        (
            "hub: wss://h/agent\noffice: potka\ntoken_file: t\n",
            "/t: there is no such file; `jharnet-monitor token OFFICE` prints one",
        ),
    ],
    ids=range(6),
)
def test_a_wrong_agent_file_is_reported_in_one_line(
    tmp_path: Path, run: Run, text: str, message: str
) -> None:
    """The agent's file is checked as strictly as the hub's; its paths are relative to it."""
    (tmp_path / "a.yaml").write_text(text, "utf-8")
    code, out, error = run("agent", "--config", tmp_path / "a.yaml")
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert message in error


@pytest.mark.parametrize(
    ("hub", "office", "message"),
    [
        ("https://h:9797/agent", "potka", "--hub: must be wss://HOST:9797/agent (or ws:// without"),
        ("wss://[::1/agent", "potka", "--hub: must be wss://HOST:9797/agent"),
        ("wss://", "potka", "--hub: must be wss://HOST:9797/agent"),
        ("wss://:9797/agent", "potka", "--hub: must be wss://HOST:9797/agent"),
        ("wss://h:99999/agent", "potka", "not `wss://h:99999/agent`"),
        ("wss://h:0/agent", "potka", "not `wss://h:0/agent`"),
        ("wss://h:x/agent", "potka", "not `wss://h:x/agent`"),
        ("wss://a..b/agent", "potka", "not `wss://a..b/agent`"),
        ("wss://a b/agent", "potka", "not `wss://a b/agent`"),
        ("wss://h:9797/agent", "../../x", "--office: must be lower-case letters, digits and hyph"),
    ],
)
def test_an_agent_that_could_reach_no_hub_is_reported_in_one_line(
    tmp_path: Path, run: Run, hub: str, office: str, message: str
) -> None:
    """Exit code 2; it does not retry for ever, and makes no directory."""
    tokens.write_secret(tmp_path / "token", "t")
    given = ["--hub", hub, "--office", office, "--token-file", tmp_path / "token"]
    code, out, error = run("agent", *given)
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert message in error


@pytest.mark.parametrize(
    "hub",
    [
        "ws://127.0.0.1:9797/agent", "wss://hub.example.in/agent", "wss://[fd00::1]:9797/agent",
        "wss://hub_1.example.in./agent", "wss://h/below/agent?x=1", f"wss://{'a' * 63}.in",
    ],
)  # fmt: skip
def test_an_address_at_which_a_hub_may_be_is_taken(tmp_path: Path, hub: str) -> None:
    """With and without TLS and a port, and below a path."""
    tokens.write_secret(tmp_path / "token", "t")
    given = {"hub": hub, "office": "potka", "token_file": tmp_path / "token"}
    assert _agent_settings({**given, "spool": tmp_path}, None).hub == hub
