"""`tls init`: the district's own certificate authority, and the hub's certificate."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Annotated

import psutil
import typer

from jharnet_monitor.config.fields import check_host_name
from jharnet_monitor.errors import UserError
from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import words
from jharnet_monitor.security import tls

app = typer.Typer(help="The district's own certificates.", no_args_is_help=True)

IpAddress = IPv4Address | IPv6Address


@app.callback()
def certificates() -> None:
    """The district's own certificates."""


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(help="Directory for the files.")],
    name: Annotated[
        list[str] | None, typer.Option(help="Host name of the hub (repeatable).")
    ] = None,
    ip: Annotated[
        list[str] | None, typer.Option(help="IP address of the hub (repeatable).")
    ] = None,
    renew: Annotated[
        bool, typer.Option("--renew", help="New hub certificate from the existing authority.")
    ] = False,
) -> None:
    """Make a certificate authority and the hub's certificate; ca.pem goes to the offices.

    Without --name and --ip the certificate is for this machine's name and addresses, or with
    --renew for those of the present one.
    """
    files, now = tls.Files(directory.resolve()), datetime.now(UTC)
    names, addresses = _names(name or []), _addresses(ip or [])
    if not names and not addresses:
        present = renew and files.certificate.exists()
        names, addresses = _present_hosts(files) if present else (_own_names(), _own_addresses())
    if not renew:
        if files.authority.exists():
            raise UserError(
                f"{files.authority}: exists already; give --renew for a new hub certificate from it"
            )
        for file in (files.certificate, files.key):  # of another authority: it may be the only copy
            if file.exists():
                raise UserError(f"{file}: exists already; name another directory, or move it")
        tls.make_authority(files, socket.gethostname(), now, names, addresses)
    names, addresses = [*names, "localhost"], [*addresses, ip_address("127.0.0.1")]
    tls.make_certificate(files, list(dict.fromkeys(names)), list(dict.fromkeys(addresses)), now)
    _print_files(files, names, addresses)


def _print_files(files: tls.Files, names: list[str], addresses: list[IpAddress]) -> None:
    until = formats.day(tls.certificate_expires(files.certificate), words("en"))
    print(f"hub's certificate  {files.certificate} (until {until})")
    print(f"hub's key          {files.key}")
    print(f"for the offices    {files.authority} (agent --ca; browsers import it)")
    print(f"valid for          {', '.join(dict.fromkeys([*names, *map(str, addresses)]))}")
    print(f"keep offline       {files.authority_key} (needed for --renew alone; move it elsewhere)")
    print(f"in the config      tls: {{certificate: {files.certificate}, key: {files.key}}}")


def _names(given: list[str]) -> list[str]:
    for name in given:
        try:
            check_host_name(name)
        except ValueError as error:
            raise UserError(f"--name: {error}") from None
    return given


def _addresses(given: list[str]) -> list[IpAddress]:
    try:
        return [ip_address(text) for text in given]
    except ValueError as error:
        raise UserError(f"--ip: {error}; give one such as 10.8.0.2") from None


def _present_hosts(files: tls.Files) -> tuple[list[str], list[IpAddress]]:
    """The names and addresses of the certificate that is to be renewed."""
    names, addresses = list[str](), list[IpAddress]()
    for host in tls.certificate_hosts(files.certificate):
        try:
            addresses.append(ip_address(host))
        except ValueError:
            names.append(host)
    return names, addresses


def _own_names() -> list[str]:
    names = (socket.gethostname(), socket.getfqdn())
    return [n for n in dict.fromkeys(names) if not n.startswith("localhost") and ":" not in n]


def _own_addresses() -> list[IpAddress]:
    found = [
        ip_address(entry.address)
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.family in (socket.AF_INET, socket.AF_INET6) and "%" not in entry.address
    ]
    return [address for address in found if not address.is_loopback]
