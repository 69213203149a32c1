"""`bundle`: everything that a machine without the Internet needs, in one signed file."""

from __future__ import annotations

import platform
import re
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.commands.terminal import plain_console
from jharnet_monitor.errors import UserError
from jharnet_monitor.handover.bundle import (
    PYTHONS,
    Machines,
    Source,
    collect_wheels,
    pack,
    signing_key,
)
from jharnet_monitor.handover.release import MOST_SERIAL


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
    serial: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST_SERIAL,
            help="The release's serial, greater than those before it "
            "[default: the time, in seconds since 1970].",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make the offline bundle for hub and agents; print the fingerprint for the installer.

    What `--wheels` holds already is used again if the lock files name it. Agents refuse a release
    whose serial is less than that of one before: give `--serial` if the clock here was wrong once.
    """
    if ca is not None and not ca.is_file():
        raise UserError(f"--ca {ca}: there is no such file")
    if out.is_dir():
        raise UserError(f"--out {out}: is a directory; name a file in it")
    target = Machines(machine, _versions(pythons))
    if key.exists():
        signing_key(key)  # a key that cannot sign is found before hundreds of megabytes are fetched
    console = plain_console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="jharnet-bundle-") as scratch:
        place = wheels or Path(scratch)
        with console.status("checking the wheels") as status:
            collect_wheels(Source(source), place, target.pythons, machine, status.update)
        made = pack(
            Source(source), place, key, out, ca, console.print,
            target=target, serial=serial or int(SystemClock().now().timestamp()),
        )  # fmt: skip
    print(f"{out}: {out.stat().st_size / 1e6:.0f} MB")
    print(f"fingerprint: {made}")
    print("Carry the fingerprint apart from the bundle: on paper, or by telephone. With it go the")
    print("commands that check the bundle before anything of it runs (help: Install a district).")


def _versions(text: str) -> list[str]:
    found = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"3\.[1-9][0-9]?", one) for one in found):
        raise UserError(f"--python {text}: must be versions such as {','.join(PYTHONS)}")
    return found
