"""What is shipped and the rights with which it runs: bill of materials, licences, image, units."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
UNITS = sorted((ROOT / "config/systemd").glob("*.service"))
CERT_IN = {
    "origin", "vulnerabilities", "patch status", "release date", "end-of-life date", "criticality",
    "usage restrictions", "comments", "executable property", "archive property",
    "structured property",
}  # fmt: skip
"""Fields of CERT-In's guidelines that CycloneDX has no place of its own for."""
MOST_EXPOSED = 3.0


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The bill of materials, made as CI makes it, with one vulnerability reported."""
    directory = tmp_path_factory.mktemp("sbom")
    package = {"name": "aiohttp", "version": "1", "vulns": [
        {"id": "PYSEC-1", "fix_versions": ["9"], "description": "x"}]}  # fmt: skip
    (directory / "audit.json").write_text(json.dumps({"dependencies": [package]}))
    out = directory / "sbom.json"
    command = [sys.executable, str(ROOT / ".ci/sbom"), str(out)]
    done = subprocess.run(
        [*command, "--audit", str(directory / "audit.json")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"a licence is not allowed:\n{done.stdout}{done.stderr}"
    made: dict[str, Any] = json.loads(out.read_text("utf-8"))
    return made


def test_the_bill_has_every_package_with_cert_ins_fields(bill: dict[str, Any]) -> None:
    """All that requirements.lock installs on Linux, each with name, version, description, supplier,
    licence, sums, unique identifier, and CERT-In's further fields; author and time of the bill."""
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["timestamp"]
    assert bill["metadata"]["authors"]
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    locked = {
        match[1]
        for match in re.finditer(r"(?m)^([\w.-]+)==[^;\n]*(;[^\n]*)?", lock)
        if "win32" not in (match[2] or "")
    }
    assert {one["name"] for one in bill["components"]} == locked
    for one in bill["components"]:
        assert all(one[key] for key in ("version", "description", "licenses", "hashes", "purl"))
        assert one["supplier"]["name"]
        named = {field["name"].removeprefix("cert-in:") for field in one["properties"]}
        assert named == CERT_IN, one["name"]
        assert all(field["value"] for field in one["properties"])
    refs = {one["bom-ref"] for one in bill["components"]}
    graph = {one["ref"]: one["dependsOn"] for one in bill["dependencies"]}
    assert refs <= set(graph)
    assert all(set(needed) <= refs for needed in graph.values())


def test_the_bill_lists_vulnerabilities(bill: dict[str, Any]) -> None:
    """Findings of pip-audit are listed at their package; packages that it did not check are marked
    so."""
    (one,) = bill["vulnerabilities"]
    assert one["id"] == "PYSEC-1"
    assert "aiohttp@" in one["affects"][0]["ref"]
    fields = {
        c["name"]: {f["name"]: f["value"] for f in c["properties"]} for c in bill["components"]
    }
    assert fields["aiohttp"]["cert-in:patch status"] == "fixed by 9"
    assert fields["rich"]["cert-in:vulnerabilities"].startswith("none known, checked")


def test_the_image_fetches_nothing_without_a_hash() -> None:
    """Not even what builds the packages: pip's own isolated builds fetch that without one."""
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text("utf-8"))
    installs = re.findall(r"pip install[^&\n]*", text)
    assert len(installs) == 3
    for one in installs:
        assert "--require-hashes" in one or "--no-deps --no-build-isolation" in one, one
    assert "--no-build-isolation" in installs[1], "speedtest-cli has no wheel"
    assert re.search(r"(?m)^USER jharnet$", text)
    assert text.rstrip().endswith("FROM ${ROLE}"), "ROLE chooses the image of hub or agent"
    assert "!.ci/build.lock" in (ROOT / ".dockerignore").read_text("utf-8")


def test_containers_have_the_least_rights() -> None:
    """Read-only, no capability, no way to gain one, and a bound on memory."""
    compose = yaml.safe_load((ROOT / "exporters/compose.yaml").read_text("utf-8"))
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["mem_limit"], name


@pytest.mark.server("systemd-analyze")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_are_hardly_exposed(unit: Path) -> None:
    """`systemd-analyze security` rates each at most 3.0 of 10."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    print(f"{unit.name}: {found[1]}")
    assert float(found[1]) <= MOST_EXPOSED


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_are_unprivileged_and_bounded(unit: Path) -> None:
    """No root, no capability, and a bound on memory and tasks."""
    text = unit.read_text("utf-8")
    assert re.search(r"(?m)^(User=jharnet|DynamicUser=yes)$", text)
    assert re.search(r"(?m)^CapabilityBoundingSet=$", text)
    assert re.search(r"(?m)^NoNewPrivileges=yes$", text)
    assert re.search(r"(?m)^MemoryMax=\d", text)
    assert re.search(r"(?m)^TasksMax=\d", text)
