"""Checks the files that a configuration names: certificates, keys, tokens, passwords.

Each has to exist, have the right content and, if secret, be readable by its owner only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from jharnet_monitor.config.checks import Problem
from jharnet_monitor.config.document import KeyPath
from jharnet_monitor.config.routers import Snmp
from jharnet_monitor.config.schema import Config, Office
from jharnet_monitor.errors import UserError
from jharnet_monitor.security.accounts import read_accounts
from jharnet_monitor.security.enrolment import was_issued
from jharnet_monitor.security.signing import read_key
from jharnet_monitor.security.tls import check_pair, read_authority
from jharnet_monitor.security.tokens import is_missing, read_secret, read_token_hash

MIN_API_TOKEN = 16
"""Characters, so that nobody can guess it over the network."""
MIN_SNMP_PASSWORD = 8
"""RFC 3414, 11.2: no router accepts a shorter one."""


def file_problems(config: Config, path: Path) -> Iterator[Problem]:
    """Every problem with a file; `path` is the configuration file, for the remedies."""
    yield from _tls(config)
    if (token := config.hub.api_token_file) is not None:
        make = f"make it with `jharnet-monitor token --api --config {path}`"
        yield from _check(("hub", "api_token_file"), token, _api_token, make)
    if (accounts := config.hub.accounts_file) is not None and not is_missing(accounts):
        yield from _check(("hub", "accounts_file"), accounts, read_accounts, "")
    for number, office in enumerate(config.offices):
        yield from _agent(number, office, path)
    yield from _snmp(("hub", "uplink", "snmp"), config.hub.uplink.snmp)
    for number, office in enumerate(config.offices):
        yield from _snmp(("offices", number, "snmp"), office.snmp)
    for number, service in enumerate(config.probes.service.services):
        if service.ca is not None:
            key = ("probes", "service", "services", number, "ca")
            yield from _check(key, service.ca, read_authority, "leave it out if not needed")
    if config.state is not None:
        make = "make it with `jharnet-monitor state key`"
        yield from _check(("state", "key_file"), config.state.key_file, read_key, make)
        if config.state.ca is not None:
            yield from _check(("state", "ca"), config.state.ca, read_authority, "")
    if (relay := config.probes.conference.relay) is not None:
        make = "write the TURN server's shared secret into it, mode 600"
        file = ("probes", "conference", "relay", "secret_file")
        yield from _check(file, relay.secret_file, read_secret, make)
    smtp = config.report.smtp
    if smtp is not None and (password := smtp.password_file) is not None:
        make = "write the mail account's password into it"
        yield from _check(("report", "smtp", "password_file"), password, read_secret, make)
    if smtp is not None and smtp.ca is not None:
        yield from _check(
            ("report", "smtp", "ca"), smtp.ca, _readable, "leave it out if not needed"
        )


def _tls(config: Config) -> Iterator[Problem]:
    tls = config.hub.tls
    if not tls:
        return
    make = f"make both with `jharnet-monitor tls init {tls.certificate.parent}`"
    for key, file in (("certificate", tls.certificate), ("key", tls.key)):
        if is_missing(file):
            yield ("hub", "tls", key), f"there is no file {file}; {make}"
            return
    try:
        check_pair(tls.certificate, tls.key)
    except UserError as error:
        key = "certificate" if str(error).startswith(f"{tls.certificate}:") else "key"
        yield ("hub", "tls", key), str(error)


def _agent(number: int, office: Office, path: Path) -> Iterator[Problem]:
    if office.agent is None:
        return
    file = office.agent.token_hash_file
    if is_missing(file) and was_issued(file):  # the agent brings its token when it enrols
        return
    make = f"make it with `jharnet-monitor token {office.id} --config {path}`"
    yield from _check(("offices", number, "agent", "token_hash_file"), file, read_token_hash, make)


def _snmp(where: KeyPath, snmp: Snmp | None) -> Iterator[Problem]:
    if snmp is None:
        return
    if snmp.community_file is not None:
        make = "write the router's read-only community into it, mode 600"
        yield from _check((*where, "community_file"), snmp.community_file, read_secret, make)
    user = snmp.user
    if user is not None:
        for key, file in (("auth_file", user.auth_file), ("privacy_file", user.privacy_file)):
            if file is not None:
                make = "write the user's password into it, mode 600"
                yield from _check((*where, "user", key), file, _snmp_password, make)


def _readable(path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def _snmp_password(path: Path) -> None:
    if len(read_secret(path)) < MIN_SNMP_PASSWORD:
        raise UserError(f"{path}: is shorter than {MIN_SNMP_PASSWORD} characters")


def _api_token(path: Path) -> None:
    if len(read_secret(path)) < MIN_API_TOKEN:
        raise UserError(f"{path}: is shorter than {MIN_API_TOKEN} characters")


def _check(
    where: KeyPath, path: Path, check: Callable[[Path], object], make: str
) -> Iterator[Problem]:
    if is_missing(path):
        yield where, f"there is no file {path}; {make}"
        return
    try:
        check(path)
    except UserError as error:
        remedy = "" if "`" in str(error) or not make else f"; {make}"
        yield where, f"{error}{remedy}"
