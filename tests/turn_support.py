"""A TURN server at headquarters and an office's firewall, in the lab; for tests and benchmarks."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from jharnet_monitor.demo.setup import PORT
from jharnet_monitor.lab import HEADQUARTERS
from jharnet_monitor.security.tokens import make_token, write_secret
from tests.conftest import find_program
from tests.page_support import OFFICE, PageLab

TURN_PORT = 443
HEADQUARTERS_PC = "10.8.0.2"
"""The hub's address in every lab, which its configuration needs before the lab exists."""
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


def relay(directory: Path, *schemes: str) -> tuple[str, dict[str, Any]]:
    """The secret, and the section `probes.conference.relay`; `schemes` are `turn` and `turns`."""
    secret = make_token()
    write_secret(directory / "turn", secret)
    urls = [f"{scheme}:{HEADQUARTERS_PC}:{TURN_PORT}?transport=tcp" for scheme in schemes]
    return secret, {"urls": urls, "secret_file": str(directory / "turn")}


@contextlib.asynccontextmanager
async def turn_server(one: PageLab, secret: str) -> AsyncIterator[Path]:
    """A coturn at headquarters with the hub's certificate, which takes TLS and plain TCP on port
    443; its log."""
    here = one.lab.addresses(HEADQUARTERS).pc
    log, tls = one.directory / "turn.log", one.directory / "tls"
    argv = [
        find_program("turnserver") or "turnserver", "-n", "-v", "--listening-ip", here,
        "--relay-ip", here, "--tls-listening-port", str(TURN_PORT), "--no-udp", "--no-dtls",
        "--cert", str(tls / "hub.pem"), "--pkey", str(tls / "hub.key"), "--use-auth-secret",
        "--static-auth-secret", secret, "--realm", "jharnet", "--min-port", "50000",
        "--max-port", "50100", "--no-cli", "--log-file", "stdout", "--pidfile",
        str(one.directory / "turn.pid"), "--userdb", str(one.directory / "turn.db"),
    ]  # fmt: skip
    with log.open("wb") as out:
        server = one.lab.popen(HEADQUARTERS, argv, stdout=out, stderr=out)
        try:
            async with asyncio.timeout(20):
                while not _listens(one):
                    assert server.poll() is None, log.read_text("utf-8", "replace")
                    await asyncio.sleep(0.05)
            yield log
        finally:
            server.terminate()
            server.wait()


def _listens(one: PageLab) -> bool:
    """Whether something listens on the port at headquarters."""
    shown = one.lab.run(HEADQUARTERS, ["ss", "-Hltn", "sport", "=", str(TURN_PORT)])
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


def trust(one: PageLab) -> str:
    """What makes Chromium trust the hub's key, as on a PC that knows the district's authority."""
    [certificate, *_] = x509.load_pem_x509_certificates(
        (one.directory / "tls/hub.pem").read_bytes()
    )
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digest = base64.b64encode(hashlib.sha256(key).digest()).decode()
    return f"--ignore-certificate-errors-spki-list={digest}"
