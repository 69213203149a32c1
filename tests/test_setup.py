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
from jharnet_monitor.config.addresses import hub_url
from jharnet_monitor.config.load import load_config
from jharnet_monitor.errors import UserError
from jharnet_monitor.security import tls, tokens
from tests.wrong_configs import GOOD

NOW = datetime.now(UTC)


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Gives a command as a person does; exit code, stdout and stderr come back."""

    def give(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["jharnet-monitor", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, error = capsys.readouterr()
        return int(ended.value.code or 0), out, error

    return give


# --- tokens


def test_a_token_has_256_bits_and_only_its_hash_admits_it(tmp_path: Path) -> None:
    """Two tokens differ; the file admits the one it was made for and no other."""
    token, other = tokens.make_token(), tokens.make_token()
    assert token != other
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", token)
    file = tmp_path / "potka"
    tokens.write_secret(file, tokens.hash_token(token) + "\n")
    assert token not in file.read_text()
    assert tokens.matches(token, file)
    for wrong in (other, "", token[:-1], token + "x", tokens.hash_token(token), "é"):
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
def test_a_faulty_hash_file_admits_nobody(tmp_path: Path, harm: Callable[[Path], object]) -> None:
    """Whatever happened to the file, the door stays shut and the hub keeps running."""
    file = tmp_path / "potka"
    tokens.write_secret(file, tokens.hash_token("t"))
    harm(file)
    assert not tokens.matches("t", file)
    assert not tokens.matches("", file)


def test_secrets_are_private_whole_and_not_replaced_by_chance(tmp_path: Path) -> None:
    """Mode 600 whatever the umask; a second write needs `replace`; no half file stays behind."""
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
def test_what_root_makes_belongs_to_the_service(tmp_path: Path) -> None:
    """The hub, running as its own user, can read what root's command made in its directory."""
    os.chown(tmp_path, 4242, 4243)
    tokens.write_secret(tmp_path / "secrets" / "x", "one")
    for path in (tmp_path / "secrets", tmp_path / "secrets" / "x"):
        assert (path.stat().st_uid, path.stat().st_gid) == (4242, 4243)


def test_a_credential_of_systemd_is_guarded_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its mode shows the group bits of an ACL; elsewhere the same mode is refused."""
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
    """A real TLS connection to the hub's certificate, as Python 3.13 checks it; the version."""
    client = ssl.create_default_context(cafile=str(ca))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    server = create_server(("127.0.0.1", 0))
    context = tls.server_context(files)

    def serve() -> None:
        connection, _ = server.accept()
        try:
            context.wrap_socket(connection, server_side=True).close()
        except OSError:
            connection.close()  # the client did not trust us

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
    """Names and addresses of the certificate hold in OpenSSL's strict mode."""
    assert _handshake(files, name, files.authority) in ("TLSv1.3", "TLSv1.2")


def test_a_wrong_name_or_a_foreign_authority_is_refused(files: tls.Files, tmp_path: Path) -> None:
    """An agent does not talk to a hub that is not the one it was told of."""
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(files, "other.example", files.authority)
    foreign = tls.Files(tmp_path / "foreign")
    tls.make_authority(foreign, "foreign", NOW)
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(files, "hub.example", foreign.authority)


def test_renewal_keeps_the_authority(files: tls.Files) -> None:
    """A new certificate and key, trusted by agents that hold the old authority's file."""
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
    """SECURITY M7: browsers import it, and its key could sign for any site. Neither `--renew` nor a
    client takes it for another name."""
    with pytest.raises(UserError, match="the authority is not for that"):
        tls.make_certificate(files, names, addresses, NOW)
    monkeypatch.setattr(tls, "_refuse_others", lambda *_: None)
    tls.make_certificate(files, names, addresses, NOW)
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree"):
        _handshake(files, [*names, *map(str, addresses)][0], files.authority)


def test_a_renewed_certificate_is_served_without_a_restart(files: tls.Files) -> None:
    """SECURITY low: the metric showed the file's end, and the old certificate was served on. Files
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


def test_keys_are_private_and_the_end_is_known(files: tls.Files) -> None:
    """Keys are mode 600; a clock a few hours behind still accepts the certificate."""
    for key in (files.key, files.authority_key):
        assert key.stat().st_mode & 0o777 == 0o600
    left = tls.certificate_expires(files.certificate) - NOW
    assert timedelta(days=824) < left <= timedelta(days=825)
    assert tls.read_certificate(files.certificate).not_valid_before_utc < NOW - timedelta(hours=23)


# --- the commands, as a person gives them


def test_from_the_shipped_lines_to_a_checked_configuration(tmp_path: Path, run: Run) -> None:
    """Each refusal of `check-config` names the command that mends it; after four it says ok."""
    file = tmp_path / "j.yaml"
    file.write_text(GOOD, "utf-8")
    (tmp_path / "secrets").mkdir(0o700)
    tokens.write_secret(tmp_path / "secrets/smtp", "word")
    code, _, told = run("check-config", file)
    assert (code, told.count("\n")) == (2, 1)
    assert f"`jharnet-monitor tls init {tmp_path}/tls`" in told
    assert run("tls", "init", tmp_path / "tls", "--name", "hub.example", "--ip", "10.8.0.2")[0] == 0
    assert run("token", "--api", "--config", file)[0] == 0
    code, out, _ = run("token", "--all", "--config", file)
    assert code == 0
    made = re.search(r"join link +https://hub\.example:9797/join/potka#t=([\w-]{43})\n", out)
    assert made is not None
    assert tokens.matches(made[1], tmp_path / "secrets/potka")
    code, out, told = run("check-config", file)
    assert (code, told) == (0, "")
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
def test_the_hub_knows_where_people_find_it(tmp_path: Path, written: str, url: str) -> None:
    """`hub.url`, else the address that it listens on, else the first name in its certificate."""
    made = tls.Files(tmp_path / "tls")
    tls.make_authority(made, "east-singhbhum", NOW, ["hub.example"])
    tls.make_certificate(made, ["localhost", "hub.example"], [], NOW)
    file = tmp_path / "j.yaml"
    file.write_text(GOOD.replace("listen: 0.0.0.0:9797", written), "utf-8")
    assert hub_url(load_config(file, files=False).hub) == url


def test_a_hub_without_a_certificate_goes_by_the_machines_name(tmp_path: Path) -> None:
    """There is always an address, if only one that needs DNS."""
    file = tmp_path / "j.yaml"
    file.write_text(GOOD, "utf-8")
    assert hub_url(load_config(file, files=False).hub) == f"https://{socket.gethostname()}:9797"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["token", "nowhere"], "no office `nowhere`; the configuration has potka, boram"),
        (["token", "boram"], "boram has no agent; add `agent: {token_hash_file: secrets/boram}`"),
        (["token"], "name one OFFICE, or --all, or --api"),
        (["token", "potka", "--hub", "hub.example"], "must be https://HOST:9797"),
        (["token", "potka"], "exists already; give --force to replace it"),
    ],
)
def test_wrong_use_of_token_is_one_line(
    tmp_path: Path, run: Run, arguments: list[str], told: str
) -> None:
    """Exit code 2 and the remedy; the file that was there stays."""
    (tmp_path / "j.yaml").write_text(GOOD, "utf-8")
    tokens.write_secret(tmp_path / "secrets/potka", "kept")
    code, out, error = run(*arguments, "--config", tmp_path / "j.yaml")
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert told in error
    assert tokens.read_secret(tmp_path / "secrets/potka") == "kept"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--name", "not a name"], "must be a host name such as hub.example.in"),
        (["--ip", "10.8.0"], "give one such as 10.8.0.2"),
        (["--renew"], "there is no such file"),
    ],
)
def test_wrong_use_of_tls_init_is_one_line(
    tmp_path: Path, run: Run, arguments: list[str], told: str
) -> None:
    """Exit code 2, the remedy, and nothing half made."""
    code, out, error = run("tls", "init", tmp_path / "tls", *arguments)
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert told in error
    assert not (tmp_path / "tls").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("offce: potka\n", "a.yaml:1: offce: unknown key; did you mean `office`?"),
        ("hub: wss://h/agent\noffice: Potka\n", "a.yaml:2: office: must be lower-case letters"),
        ("hub: wss://h/agent\noffice: potka\n", "--token-file is missing"),
        ("hub: h\noffice: potka\ntoken_file: t\n", "--hub h: must be wss://HOST:9797/agent"),
        (
            "hub: wss://h/agent\noffice: potka\ntoken_file: t\n",
            "/t: there is no such file; `jharnet-monitor token OFFICE` prints one",
        ),
    ],
    ids=range(5),
)
def test_a_wrong_agent_file_is_one_line(tmp_path: Path, run: Run, text: str, told: str) -> None:
    """The agent's file is as strict as the hub's; names in it start at its directory."""
    (tmp_path / "a.yaml").write_text(text, "utf-8")
    code, out, error = run("agent", "--config", tmp_path / "a.yaml")
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert told in error
