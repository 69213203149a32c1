"""Papers keep to PDF/A-3b and PDF/UA-1, and a signed copy of one verifies."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pikepdf
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    pkcs12,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign.signers import PdfTimeStamper, SimpleSigner
from pyhanko.sign.timestamps import DummyTimeStamper
from pyhanko.sign.validation.dss import DocumentSecurityStore
from pyhanko_certvalidator.registry import SimpleCertificateStore
from typer.testing import CliRunner

from jharnet_monitor.commands import sign as command
from jharnet_monitor.errors import UserError
from jharnet_monitor.i18n.words import LANGUAGES
from jharnet_monitor.report.data.summary import Summary
from jharnet_monitor.report.output.build import make
from jharnet_monitor.report.output.compose import drafts
from jharnet_monitor.report.output.drill_sheet import make_drill_sheets
from jharnet_monitor.report.output.signature import FIELD, Added, add_field, examine, sign
from tests import made_up_week
from tests.made_up_week import MADE_AT
from tests.pdf_rules import violations

PASSWORD = b"not a secret"


@pytest.fixture(scope="module")
def papers(summary: Summary) -> dict[str, bytes]:
    """The report, its annex and the sheet of a drill."""
    made = [*make(drafts(summary, LANGUAGES), ["pdf"])]
    drill = made_up_week.drill(summary.config)
    made += make_drill_sheets(drill, summary.config, LANGUAGES, ["pdf"], MADE_AT)
    return {one.name: one.content for one in made}


def test_papers_break_no_rule_that_can_be_checked(papers: dict[str, bytes]) -> None:
    """Each rule of the two standards in `pdf_rules`, for every paper in both languages."""
    assert len(papers) == 6
    assert {name: wrong for name, paper in papers.items() if (wrong := violations(paper))} == {}


def test_the_rules_find_what_is_wrong(papers: dict[str, bytes]) -> None:
    """A paper without language, tags or title, with an action, or with marks outside of the tags
    breaks its rule: the check can fail.
    """
    with pikepdf.open(io.BytesIO(papers["weekly-2026-W47.hi.pdf"])) as pdf:
        del pdf.Root.Lang, pdf.Root.MarkInfo, pdf.Root.OutputIntents
        pdf.Root.OpenAction = pikepdf.Dictionary(S=pikepdf.Name.JavaScript, JS="app.alert(1)")
        pdf.pages[0].contents_add(b"0 0 9 9 re f")
        with pdf.open_metadata() as meta:
            del meta["pdfuaid:part"]
        out = io.BytesIO()
        pdf.save(out)
    reported = " ".join(violations(out.getvalue()))
    for clause in ("7.2:", "it is not tagged", "6.2.3:", "6.5.1:", "outside of any tag", "5:"):
        assert clause in reported, clause


def _identity(name: str, *purposes: x509.ObjectIdentifier) -> tuple[bytes, x509.Certificate]:
    """A key with a certificate that it signed itself, as a PKCS#12 file."""
    key = rsa.generate_private_key(65537, 2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    usage = x509.KeyUsage(True, True, False, False, False, False, False, False, False)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=9))
        .add_extension(usage, critical=True)
    )
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=True)
    certificate = builder.sign(key, hashes.SHA256())
    sealed = BestAvailableEncryption(PASSWORD)
    return pkcs12.serialize_key_and_certificates(b"dc", key, certificate, None, sealed), certificate


def test_a_signed_copy_verifies_and_a_changed_one_does_not(
    papers: dict[str, bytes], tmp_path: Path
) -> None:
    """By the commands: a field, a signature in it, and what it says; a byte that was changed, a
    certificate of somebody else and an addition are found.
    """
    paper = papers["drill-20261118-053000-a1b2.hi.pdf"]
    own, certificate = _identity("Deputy Commissioner")
    _, other = _identity("Somebody else")
    (tmp_path / "p.pdf").write_bytes(paper)
    (tmp_path / "dc.p12").write_bytes(own)
    (tmp_path / "password").touch(mode=0o600)
    (tmp_path / "password").write_bytes(PASSWORD)
    (tmp_path / "ca.pem").write_bytes(certificate.public_bytes(Encoding.PEM))

    def run(*arguments: str) -> tuple[int, str]:
        places = [
            str(tmp_path / one) if "." in one or one == "password" else one for one in arguments
        ]
        done = CliRunner().invoke(command.app, places, catch_exceptions=False)
        return done.exit_code, done.output

    assert run("field", "p.pdf", "--out", "f.pdf")[0] == 0
    assert run("verify", "f.pdf", "--trust", "ca.pem")[0] == 1
    with pikepdf.open(tmp_path / "f.pdf") as pdf:
        assert [str(one.T) for one in pdf.Root.AcroForm.Fields] == [FIELD]
    code, _ = run("with", "f.pdf", "dc.p12", "--out", "s.pdf", "--password-file", "password")
    assert code == 0
    code, text = run("verify", "s.pdf", "--trust", "ca.pem")
    assert (code, "Deputy Commissioner" in text) == (0, True)
    signed = (tmp_path / "s.pdf").read_bytes()
    assert signed.startswith(paper)
    [wrong] = examine(signed, [other])
    assert (wrong.intact, wrong.trusted) == (True, False)
    at = signed.index(b"stream") + 20
    [changed] = examine(signed[:at] + bytes([signed[at] ^ 1]) + signed[at + 1 :], [certificate])
    assert not changed.good
    [added] = examine(add_field(signed), [certificate])
    assert added.added is Added.MORE


def _overlaid(paper: bytes) -> bytes:
    """The paper with a page's content replaced by an incremental update, as a forger adds it."""
    writer: Any = IncrementalPdfFileWriter(io.BytesIO(paper))
    content = writer.add_object(generic.StreamObject(stream_data=b"0 0 100 100 re f"))
    writer.add_stream_to_page(0, content)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def test_a_second_officer_signs_the_copy_of_the_first(papers: dict[str, bytes]) -> None:
    """In a field of his own, left of the first. Both signatures hold, and neither hides what was
    added between them, or after the second."""
    paper = papers["drill-20261118-053000-a1b2.hi.pdf"]
    first, certificate = _identity("District Informatics Officer")
    second, other = _identity("Deputy Commissioner")
    trusted = [certificate, other]
    signed = sign(paper, first, PASSWORD, "")
    twice = sign(signed, second, PASSWORD, "")
    with pikepdf.open(io.BytesIO(twice)) as pdf:
        right, left = ([int(x) for x in one.Rect.as_list()] for one in pdf.Root.AcroForm.Fields)
    assert left[2] < right[0] and left[1] == right[1]
    both = examine(twice, trusted)
    assert [(one.field, one.added) for one in both] == [
        (FIELD, Added.SIGNATURES), (f"{FIELD}2", Added.NOTHING),
    ]  # fmt: skip
    assert all(one.good for one in both)
    [one, later] = examine(sign(_overlaid(signed), second, PASSWORD, ""), trusted)
    assert (one.added, one.good, later.good) == (Added.MORE, False, True)
    after = examine(_overlaid(twice), trusted)
    assert [one.added for one in after] == [Added.MORE, Added.MORE]


def _stamped(paper: bytes, authority: bytes, moment: datetime) -> bytes:
    """The paper with an authority's time stamp of the whole file (RFC 3161)."""
    signer: Any = SimpleSigner.load_pkcs12_data(authority, other_certs=[], passphrase=PASSWORD)
    store: Any = SimpleCertificateStore
    known = store.from_certs([signer.signing_cert])
    stamper = DummyTimeStamper(
        signer.signing_cert, signer.signing_key, certs_to_embed=known, fixed_dt=moment
    )
    out = io.BytesIO()
    PdfTimeStamper(stamper).timestamp_pdf(
        IncrementalPdfFileWriter(io.BytesIO(paper)), "sha256", output=out
    )
    return out.getvalue()


def _with_proofs(paper: bytes, authority: bytes) -> bytes:
    """The paper with a certificate in its security store, as a signing tool adds it for later."""
    signer: Any = SimpleSigner.load_pkcs12_data(authority, other_certs=[], passphrase=PASSWORD)
    out = io.BytesIO(paper)
    DocumentSecurityStore.add_dss(out, None, certs=[signer.signing_cert])
    return out.getvalue()


def test_proofs_and_time_stamps_are_no_alteration(papers: dict[str, bytes], tmp_path: Path) -> None:
    """A signing tool adds both to what is kept for years (ETSI EN 319 142-1, B-LTA). They hide no
    addition, and an authority that is not trusted proves no time."""
    own, certificate = _identity("Deputy Commissioner")
    authority, stamping = _identity("Time", ExtendedKeyUsageOID.TIME_STAMPING)
    trusted, now = [certificate, stamping], datetime.now(UTC).replace(microsecond=0)
    signed = sign(papers["drill-20261118-053000-a1b2.hi.pdf"], own, PASSWORD, "")
    proved = _with_proofs(signed, authority)
    [only] = examine(proved, trusted)
    assert (only.added, only.good) == (Added.UNSEEN, True)
    kept = _stamped(proved, authority, now)
    (tmp_path / "kept.pdf").write_bytes(kept)
    pem = b"".join(one.public_bytes(Encoding.PEM) for one in trusted)
    (tmp_path / "ca.pem").write_bytes(pem)
    argv = ["verify", str(tmp_path / "kept.pdf"), "--trust", str(tmp_path / "ca.pem")]
    done = CliRunner().invoke(command.app, argv, catch_exceptions=False)
    signature, stamp = done.output.splitlines()
    assert done.exit_code == 0, done.output
    assert signature.endswith("certificate trusted, nothing added that shows")
    at = now.astimezone(ZoneInfo("Asia/Kolkata"))
    assert f"Time: time stamp of {at:%d.%m.%Y, %H:%M} IST, as it was signed, certificate" in stamp
    [_, unknown] = examine(kept, [certificate])
    assert (unknown.intact, unknown.good) == (True, False)
    [one, later] = examine(_stamped(_overlaid(signed), authority, now), trusted)
    assert (one.added, later.stamped_at, later.good) == (Added.MORE, now, True)
    assert [one.good for one in examine(_overlaid(kept), trusted)] == [False, False]


def test_a_damaged_signature_is_one_line(papers: dict[str, bytes], tmp_path: Path) -> None:
    """Whichever digit of it was changed. A later one covers it and does not hold either; one before
    holds."""
    own, certificate = _identity("Deputy Commissioner")
    (tmp_path / "ca.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    paper = sign(papers["drill-20261118-053000-a1b2.hi.pdf"], own, PASSWORD, "")
    twice = sign(paper, own, PASSWORD, "")
    begin = paper.index(b"/Contents <") + len(b"/Contents <")
    end = begin + len(paper[begin : paper.index(b">", begin)].rstrip(b"0"))
    unreadable = 0
    for at in range(begin, end, 97):
        digit = b"1" if twice[at : at + 1] != b"1" else b"2"
        (tmp_path / "s.pdf").write_bytes(twice[:at] + digit + twice[at + 1 :])
        argv = ["verify", str(tmp_path / "s.pdf"), "--trust", str(tmp_path / "ca.pem")]
        done = CliRunner().invoke(command.app, argv, catch_exceptions=False)
        [damaged, later] = done.output.splitlines()
        unreadable += damaged == f"{FIELD}: a signature that CANNOT be read or checked"
        assert done.exit_code == 1, (at, done.output)
        assert "CHANGED" in later, (at, done.output)  # the second one covers the first
    assert unreadable > 0
    last = twice.rindex(b"/Contents <") + len(b"/Contents <")
    [before, damaged_last] = examine(twice[:last] + b"7" + twice[last + 1 :], [certificate])
    assert (before.good, damaged_last.signer, damaged_last.good) == (True, None, False)


def test_what_cannot_be_signed_is_one_clear_line(papers: dict[str, bytes]) -> None:
    """No PDF, and a wrong password."""
    own, _ = _identity("Deputy Commissioner")
    with pytest.raises(UserError, match="no PDF that can be signed"):
        add_field(b"hello")
    with pytest.raises(UserError, match="cannot be opened with this password"):
        sign(papers["weekly-2026-W47.hi.pdf"], own, b"wrong", "")
