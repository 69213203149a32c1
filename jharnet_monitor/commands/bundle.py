"""`bundle`: everything that a machine without the Internet needs, in one signed file."""

from __future__ import annotations

import platform
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.errors import UserError
from jharnet_monitor.handover.bundle import PYTHONS, Machines, Source, collect_wheels, pack


def bundle(
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("bundle.zip"),
    source: Annotated[Path, typer.Option(help="A checkout of jharnet-monitor.")] = Path(),
    key: Annotated[
        Path, typer.Option(help="The signing key (Ed25519, PEM); made if there is none.")
    ] = Path("secrets/bundle.key"),
    ca: Annotated[Path | None, typer.Option(help="The hub's ca.pem, to enclose it.")] = None,
    wheels: Annotated[
        Path | None, typer.Option(help="Directory of wheels to keep, and to use again.")
    ] = None,
    pythons: Annotated[
        str, typer.Option("--python", help="Versions of Python on the machines.")
    ] = ",".join(PYTHONS),
    machine: Annotated[
        str, typer.Option(help="The machines' processor, as `uname -m` says.")
    ] = platform.machine(),
) -> None:
    """Make the offline bundle for hub and agents; print the fingerprint for the installer."""
    if ca is not None and not ca.is_file():
        raise UserError(f"--ca {ca}: there is no such file")
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="jharnet-bundle-") as scratch:
        place = wheels or Path(scratch)
        if wheels is None or not any(place.glob("*.whl")):
            with console.status("starting") as status:
                collect_wheels(
                    Source(source), place, pythons.split(","), machine,
                    status.update,
                )  # fmt: skip
        made = pack(
            Source(source), place, key, out, ca, console.print,
            target=Machines(machine, pythons.split(",")),
            serial=int(SystemClock().now().timestamp()),
        )  # fmt: skip
    print(f"{out}: {out.stat().st_size / 1e6:.0f} MB")
    print(f"fingerprint: {made}")
    print("Carry the fingerprint apart from the bundle: on paper, or by telephone.")
