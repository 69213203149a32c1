"""`sign`: a signature field in a paper, a signed copy, and what a signature says."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from cryptography import x509

from jharnet_monitor.commands.terminal import plain_console
from jharnet_monitor.errors import UserError, as_one_line
from jharnet_monitor.i18n.formats import moment
from jharnet_monitor.i18n.words import words
from jharnet_monitor.report.output.files import write_whole
from jharnet_monitor.report.output.signature import (
    Added,
    SignatureReport,
    add_field,
    examine,
    sign,
)
from jharnet_monitor.security.tokens import read_secret

app = typer.Typer(no_args_is_help=True)
console = plain_console()

Paper = Annotated[Path, typer.Argument(help="A PDF, such as letter.hi.pdf.")]
Out = Annotated[Path, typer.Option(help="The copy to write.")]
_IST = ZoneInfo("Asia/Kolkata")
_ADDED = {
    Added.NOTHING: "nothing added",
    Added.SIGNATURES: "only later signatures added",
    Added.UNSEEN: "nothing added that shows",
    Added.MORE: "something was ADDED after it was signed",
}


@app.callback()
def _about() -> None:
    """Sign copies of papers; needs the extra `sign` (pyHanko)."""


@app.command("field")
def field(paper: Paper, out: Out) -> None:
    """Add an empty field for the officer's own signing tool (DSC token, e-Sign)."""
    _refuse_original(paper, out)
    write_whole(out, add_field(_read(paper)))
    console.print(f"{out}: has a field to be signed", soft_wrap=True)


@app.command("with")
def with_file(
    paper: Paper,
    pkcs12: Annotated[Path, typer.Argument(help="Key and certificate, a .p12 or .pfx file.")],
    out: Out,
    password_file: Annotated[Path, typer.Option(help="File with the key's password, mode 600.")],
    reason: Annotated[str, typer.Option(help="Printed in the signature.")] = "",
) -> None:
    """Write a copy that is signed with a PKCS#12 file."""
    _refuse_original(paper, out)
    secret = read_secret(password_file).encode()
    write_whole(out, sign(_read(paper), _read(pkcs12), secret, reason))
    console.print(f"{out}: is signed", soft_wrap=True)


@app.command("verify")
def verify(
    paper: Paper,
    trust: Annotated[
        list[Path], typer.Option(help="PEM certificates that are trusted, such as the CCA's.")
    ],
) -> None:
    """Say whether a paper is as it was signed, and by whom; exit code 1 if not.

    Another signature after the first is no alteration, nor is a time stamp.
    """
    roots = []
    for path in trust:
        try:
            roots += x509.load_pem_x509_certificates(_read(path))
        except ValueError as error:
            raise UserError(f"{path}: is no PEM certificate: {error}") from None
    for library in ("pyhanko", "pyhanko_certvalidator"):
        logging.getLogger(library).setLevel(logging.CRITICAL)  # they print tracebacks
    found = examine(_read(paper), roots)
    for one in found:
        console.print(as_one_line(_describe(one)), soft_wrap=True)
    if not found:
        console.print(f"{paper}: is not signed", soft_wrap=True)
    raise typer.Exit(0 if found and all(one.good for one in found) else 1)


def _describe(report: SignatureReport) -> str:
    if report.signer is None:
        return f"{report.field}: a signature that CANNOT be read or checked"
    stamped = report.stamped_at
    when = [] if stamped is None else [f"time stamp of {moment(stamped, _IST, words('en'))}"]
    parts = (
        *when,
        "as it was signed" if report.intact else "CHANGED after it was signed",
        "certificate trusted" if report.trusted else "certificate NOT trusted",
        _ADDED[report.added],
    )
    return f"{report.signer}: {', '.join(parts)}"


def _refuse_original(paper: Path, out: Path) -> None:
    if paper.exists() and out.exists() and out.samefile(paper):
        raise UserError(f"--out {out}: is the paper itself; name another file for the copy")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
