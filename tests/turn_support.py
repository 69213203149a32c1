"""A TURN server at headquarters and an office's firewall, in the lab; for tests and benchmarks."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from jharnet_monitor.demo.setup import PORT
from jharnet_monitor.lab import HEADQUARTERS
from jharnet_monitor.security import tls
from jharnet_monitor.security.tokens import make_token, write_secret
from tests.conftest import find_program
from tests.page_support import OFFICE, PageLab
from tests.tab_support import Name, Tab

TURN_PORT = 443
HEADQUARTERS_PC = "10.8.0.2"
"""The hub's address in every lab, which its configuration needs before the lab exists."""
RELAY_NAME = "relay.example"
HOSTS = {"turn": HEADQUARTERS_PC, "turns": RELAY_NAME}
"""How the relay is called by each scheme: Firefox uses `turns:` only with a name."""
UDP_BLOCKED = """table inet office {{
  chain out {{ type filter hook output priority 0; ip daddr {hub} meta l4proto udp drop; }}
}}
"""
ONLY_443 = """table inet office {{
  chain out {{
    type filter hook output priority 0;
    ip daddr {hub} tcp dport {{ {hub_port}, 443 }} accept
    ip daddr {hub} drop
  }}
}}
"""
"""Nothing but TCP 443, and the hub's own port, over which the page is there at all."""


@dataclass(frozen=True, slots=True)
class Relay:
    """A relay that is not started yet: its secret, its certificate, and the hub's section."""

    secret: str
    files: tls.Files
    section: Mapping[str, Any]
    """`probes.conference.relay`."""

    @property
    def authority(self) -> Path:
        """The certificate of the authority that an office's PC must know."""
        return self.files.authority

    def trust(self) -> str:
        """What makes Chromium trust the relay's key, as on a PC that knows the authority."""
        key = tls.read_certificate(self.files.certificate).public_key()
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        digest = base64.b64encode(hashlib.sha256(der).digest()).decode()
        return f"--ignore-certificate-errors-spki-list={digest}"


def relay(directory: Path, *schemes: str) -> Relay:
    """A relay with a certificate for its name; `schemes` are `turn` and `turns`."""
    secret, files = make_token(), tls.Files(directory / "relay")
    write_secret(directory / "turn", secret)
    tls.make_authority(files, "relay", datetime.now(UTC), names=[RELAY_NAME])
    tls.make_certificate(files, [RELAY_NAME], [], datetime.now(UTC))
    urls = [f"{scheme}:{HOSTS[scheme]}:{TURN_PORT}?transport=tcp" for scheme in schemes]
    return Relay(secret, files, {"urls": urls, "secret_file": str(directory / "turn")})


@contextlib.contextmanager
def _named(one: PageLab, address: str) -> Iterator[None]:
    """Let the office's PC know the relay's name. Only what is started afterwards knows it."""
    own = Path("/etc/netns") / one.lab.namespace(OFFICE)  # see ip-netns(8)
    own.mkdir(parents=True, exist_ok=True)
    try:
        (own / "hosts").write_text(f"127.0.0.1 localhost\n{address} {RELAY_NAME}\n")
        # It refuses; for one that does not answer, Chromium waits, whatever the hosts file says.
        (own / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        yield
    finally:
        shutil.rmtree(own)


@contextlib.asynccontextmanager
async def turn_server(one: PageLab, given: Relay) -> AsyncIterator[Path]:
    """A coturn at headquarters, which takes TLS and plain TCP on port 443; its log. Browsers that
    are started afterwards find it by its name."""
    here = one.lab.addresses(HEADQUARTERS).pc
    with _named(one, here):
        async with _coturn(one, given, here) as log:
            yield log


@contextlib.asynccontextmanager
async def _coturn(one: PageLab, given: Relay, here: str) -> AsyncIterator[Path]:
    log = one.directory / "turn.log"
    argv = [
        find_program("turnserver") or "turnserver", "-n", "-v", "--listening-ip", here,
        "--relay-ip", here, "--tls-listening-port", str(TURN_PORT), "--no-udp", "--no-dtls",
        "--cert", str(given.files.certificate), "--pkey", str(given.files.key),
        "--use-auth-secret", "--static-auth-secret", given.secret, "--realm", "jharnet",
        "--min-port", "50000", "--max-port", "50100", "--no-cli",
        "--log-file", "stdout", "--pidfile", str(one.directory / "turn.pid"),
        "--userdb", str(one.directory / "turn.db"),
    ]  # fmt: skip
    with log.open("wb") as out:
        server = one.lab.popen(HEADQUARTERS, argv, stdout=out, stderr=out)
        try:
            async with asyncio.timeout(20):
                while not listens(one, TURN_PORT):
                    assert server.poll() is None, log.read_text("utf-8", "replace")
                    await asyncio.sleep(0.05)
            yield log
        finally:
            server.terminate()
            server.wait()


def listens(one: PageLab, port: int) -> bool:
    """Whether something listens on the TCP port at headquarters."""
    shown = one.lab.run(HEADQUARTERS, ["ss", "-Hltn", "sport", "=", str(port)])
    return bool(shown.stdout.strip())


@contextlib.contextmanager
def firewall(one: PageLab, rules: str, **values: object) -> Iterator[None]:
    """The office's firewall, as nft(8) rules on its PC."""
    hub = one.lab.addresses(HEADQUARTERS).pc
    file = one.directory / "firewall.nft"
    file.write_text(rules.format(hub=hub, hub_port=PORT, **values))
    nft = find_program("nft") or "nft"
    one.lab.run(OFFICE, [nft, "-f", file])
    try:
        yield
    finally:
        one.lab.run(OFFICE, [nft, "delete", "table", "inet", "office"])


def trusting_tab(
    one: PageLab, browser: Name, directory: Path, trusted: Relay | None
) -> AbstractAsyncContextManager[Tab]:
    """A tab on a PC that knows the district's authority, and that of this relay, if there is one.

    Chromium takes any certificate for the page, and for the relay the key that it is told to take.
    """
    if browser == "chromium":
        return one.tab(browser, directory, *([trusted.trust()] if trusted else []))
    authorities = [one.authority, *([trusted.authority] if trusted else [])]
    return one.tab(browser, directory, authorities=authorities)
