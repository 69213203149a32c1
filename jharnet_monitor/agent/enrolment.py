"""The agent's side of enrolment: makes a token and registers it at the hub with a one-time code."""

from __future__ import annotations

import hashlib
import json
import logging
import ssl
from pathlib import Path

import aiohttp

from jharnet_monitor.agent.versions import write_durably
from jharnet_monitor.clock import Clock
from jharnet_monitor.errors import UserError, as_one_line, file_error
from jharnet_monitor.security.enrolment import Enrolment
from jharnet_monitor.security.tokens import hash_token, make_token, read_secret, write_secret
from jharnet_monitor.wire.connect_errors import describe_error

log = logging.getLogger(__name__)

FILE = "agent.yaml"
FIRST_RETRY_SECONDS = 2.0
LAST_RETRY_SECONDS = 60.0
MOST_ANSWER_BYTES = 64 * 1024
"""No certificate, and no other answer of a hub, is that long."""
READABLE = 0o644
"""The mode of files that are no secrets."""


async def enrol(enrolment: Enrolment, directory: Path, clock: Clock) -> Path:
    """Enrol once and write agent.yaml, token and ca.pem into `directory`.

    Returns the path of agent.yaml; does nothing if it exists. Retries until the hub can be reached.
    Raises `UserError` if the hub refuses, or shows another authority.
    """
    path = directory / FILE
    if path.exists():
        return path
    _make(directory)
    token = _own_token(directory)
    retry = FIRST_RETRY_SECONDS
    timeout = aiohttp.ClientTimeout(total=60, sock_connect=10)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        while True:
            try:
                context = await _trust_hub(enrolment, directory, http)
                await _submit(enrolment, token, http, context)
                break
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                log.info("cannot reach the hub, retrying: %s", describe_error(error))
            await clock.sleep(retry)
            retry = min(2 * retry, LAST_RETRY_SECONDS)
    values = {**enrolment.agent_settings(), "token_file": "token"}
    if enrolment.authority:
        values["ca"] = "ca.pem"
    # In quotes, because without them YAML reads an office id such as 007 or no as another type.
    text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in values.items())
    _write(path, text)
    log.info("enrolled as %s; %s is written", enrolment.office, path)
    return path


def _make(directory: Path) -> None:
    """Make the directory so that the service's user can read agent.yaml, whatever the umask."""
    if not directory.exists():
        directory.mkdir(parents=True)
        directory.chmod(0o755)


def _own_token(directory: Path) -> str:
    """The token of this machine, made at the first attempt and kept for later ones."""
    path = directory / "token"
    if path.exists():
        return read_secret(path)
    token = make_token()
    write_secret(path, token + "\n")
    return token


def _write(path: Path, text: str) -> None:
    """Write a file that is no secret; raises as `file_error` if it cannot be written."""
    try:
        write_durably(path, text.encode(), READABLE)
    except OSError as error:
        raise file_error(f"{path}: cannot be written", error) from error


async def _trust_hub(
    enrolment: Enrolment, directory: Path, http: aiohttp.ClientSession
) -> ssl.SSLContext | bool:
    """The TLS context for the hub: trusts the pinned authority, or else this machine's authorities.
    The authority's certificate is fetched over an unverified connection and checked by its
    fingerprint. No secret is sent before that. Whoever is between can send more after it, so an
    answer with anything but the checked certificate is refused.
    """
    if enrolment.authority is None:
        return True
    async with http.get(f"{enrolment.hub}/api/v1/ca.pem", ssl=False) as answer:
        answer.raise_for_status()
        certificate = _only_certificate(await _body(answer))
    if hashlib.sha256(certificate).hexdigest() != enrolment.authority:
        raise UserError(
            f"{enrolment.hub} is not the hub of this enrolment: its authority has another "
            "fingerprint. Ask the engineer for a new one, and say so: somebody may be listening"
        )
    text = ssl.DER_cert_to_PEM_cert(certificate)
    _write(directory / "ca.pem", text)
    return ssl.create_default_context(cadata=text)


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    """What was sent, up to somewhat more than `MOST_ANSWER_BYTES`."""
    raw = b""
    async for part in answer.content.iter_chunked(4096):
        raw += part
        if len(raw) > MOST_ANSWER_BYTES:
            break
    return raw


def _only_certificate(raw: bytes) -> bytes:
    """The DER of a PEM text that holds one certificate and nothing else, empty for any other text.

    Behind the padding of base64 some versions of Python read on and some do not
    (python/cpython#145264), so what was decoded is compared with what came.
    """
    try:
        text = raw.decode("ascii")
        certificate = ssl.PEM_cert_to_DER_cert(text)
    except ValueError:
        return b""
    # However its lines are wrapped.
    whole = "".join(ssl.DER_cert_to_PEM_cert(certificate).split()) == "".join(text.split())
    return certificate if whole else b""


async def _submit(
    enrolment: Enrolment, token: str, http: aiohttp.ClientSession, context: ssl.SSLContext | bool
) -> None:
    body = {"office": enrolment.office, "code": enrolment.code, "token_hash": hash_token(token)}
    async with http.post(
        f"{enrolment.hub}/api/v1/enrolments", json=body, ssl=context, allow_redirects=False
    ) as answer:
        raw = await _body(answer)
        if answer.status in (400, 403, 404):
            reason = as_one_line(raw[:200].decode("utf-8", "replace").strip())
            raise UserError(
                f"the hub refuses this enrolment ({reason}); "
                f"`jharnet-monitor enrol {enrolment.office}` on the hub makes a new one"
            )
        answer.raise_for_status()
        if answer.status == 200 and _names_office(raw, enrolment.office):
            return
        target = answer.headers.get("Location", "")
        what = as_one_line(f"to {target}" if target else answer.content_type)[:200]
        raise UserError(
            f"what answers at {enrolment.hub} is no hub (status {answer.status}, {what}): make the "
            f"enrolment with the hub's own address, by `jharnet-monitor enrol {enrolment.office} "
            "--hub URL` on the hub, or remove the proxy or portal between"
        )


def _names_office(raw: bytes, office: str) -> bool:
    """Whether an answer to an enrolment is a hub's: it names the enrolled office."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("office") == office
