"""Papers keep to PDF/A-3b and PDF/UA-1, and a signed copy of one verifies."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

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
from cryptography.x509.oid import NameOID
from typer.testing import CliRunner

from jharnet_monitor.commands import sign as command
from jharnet_monitor.errors import UserError
from jharnet_monitor.i18n.words import LANGUAGES
from jharnet_monitor.report.data.summary import Summary
from jharnet_monitor.report.output.build import make
from jharnet_monitor.report.output.compose import drafts
from jharnet_monitor.report.output.drill_sheet import make_drill_sheets
from jharnet_monitor.report.output.signature import FIELD, add_field, examine, sign
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


def _identity(name: str) -> tuple[bytes, x509.Certificate]:
    """A key with a certificate that it signed itself, as a PKCS#12 file."""
    key = rsa.generate_private_key(65537, 2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    usage = x509.KeyUsage(True, True, False, False, False, False, False, False, False)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=9))
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
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
    assert not added.whole


def test_what_cannot_be_signed_is_one_clear_line(papers: dict[str, bytes]) -> None:
    """No PDF, and a wrong password."""
    own, _ = _identity("Deputy Commissioner")
    with pytest.raises(UserError, match="no PDF that can be signed"):
        add_field(b"hello")
    with pytest.raises(UserError, match="cannot be opened with this password"):
        sign(papers["weekly-2026-W47.hi.pdf"], own, b"wrong", "")
