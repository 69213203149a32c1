"""What the verifier of a dossier accepts as proof: files, settings, retests, nothing pruned."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.config.sealed_settings import settings_record
from jharnet_monitor.dossier.statements import certificate
from jharnet_monitor.dossier.verify import verify
from jharnet_monitor.errors import UserError
from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import LANGUAGES, words
from jharnet_monitor.judge.calendar.period import date_range
from jharnet_monitor.model import RETEST, ROUND_TRIPS, Direction, Measurement
from jharnet_monitor.probes import PRUNABLE
from jharnet_monitor.store.pruning import SETTINGS
from tests import made_up
from tests.dossier_support import MADE_AT, Filed, Forger, check, filed, with_contract
from tests.made_up_week import WEEK, ZONE
from tests.pdf_text import plain, text_of


def test_a_zip_file_holds_nothing_but_its_entries(true: Forger, tmp_path: Path) -> None:
    """Two files of one name, a comment, and bytes before, between and behind the entries."""
    file = true.write(tmp_path / "true.zip")
    whole = file.read_bytes()
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("claims.json", b"{}")
    [problem] = verify(file, None, lambda _: None).problems
    assert problem == "true.zip: contains two files of the same name"
    file.write_bytes(b"something else" + whole)
    [problem] = verify(file, None, lambda _: None).problems
    assert problem == "true.zip: holds more than the files that it lists"
    with zipfile.ZipFile(true.write(file), "a") as archive:
        archive.comment = b"?"
    assert verify(file, None, lambda _: None).problems == [problem]
    with zipfile.ZipFile(true.write(file), "a") as archive:
        archive.writestr("hidden", b"?")
        archive.filelist.pop()
        archive.__dict__["_didModify"] = True
    assert verify(file, None, lambda _: None).problems == [problem]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_certificate_says_up_to_when_its_hash_value_reaches(
    true: Forger, language: str
) -> None:
    """It may cover hours after the period, for what was delivered late, or not yet all of them."""
    whole, phrase = true.case(), words(language)
    for case in (whole, replace(whole, chain=whole.chain[:-30])):
        [last] = [one for one in case.chain if one.root == case.root]
        until = formats.moment(last.begin + timedelta(hours=1), case.zone, phrase)
        note = certificate(case, phrase)["note"]
        assert until in note and last.root in note
    assert whole.root_until != case.root_until


@pytest.mark.parametrize("name", ["manifest.json", "settings.json", "claims.json"])
def test_a_key_that_occurs_twice_is_rejected(true: Forger, tmp_path: Path, name: str) -> None:
    """The first reader would take one value, the second the other. Other spaces are rejected, too,
    and the last digit of a figure is compared.
    """
    twice = true.copy()
    key = next(iter(true.json(name)))
    twice.files[name] = true.files[name].replace(b"{", f'{{"{key}": 1,'.encode(), 1)
    assert "occurs twice" in _first_beyond_hashes(twice, name, tmp_path)
    spaced = true.copy()
    spaced.files[name] += b" "
    assert "not written as this program" in _first_beyond_hashes(spaced, name, tmp_path)


def _first_beyond_hashes(forger: Forger, name: str, directory: Path) -> str:
    if name != "manifest.json":
        forger.rehash()
    return check(forger, directory).problems[0]


def test_claims_are_compared_to_the_last_digit(true: Forger, tmp_path: Path) -> None:
    """The papers would still say the same."""
    claims = true.json("claims.json")
    office = next(iter(claims["offices"]))
    claims["offices"][office]["delivered"]["down"]["value"] += 0.01
    true.set_json("claims.json", claims)
    true.rehash()
    assert "is not the file that follows" in check(true, tmp_path).problems[0]


@pytest.mark.parametrize("kind", ["conference", "latency", "transitions"])
def test_nothing_of_the_period_can_be_called_pruned(
    true: Forger, tmp_path: Path, kind: str
) -> None:
    """The flag lies outside of the hash, so the chain still leads to every root."""
    rows = [json.loads(line) for line in true.files["chain/links.jsonl"].splitlines()]
    number = next(n for n, row in enumerate(rows) if n > 3 and f'"{kind}"' in row["chunk"])
    rows[number]["pruned"] = [kind]
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    true.files["chain/links.jsonl"] = "".join(lines).encode()
    true.rehash()
    [problem] = check(true, tmp_path, root=rows[-1]["root"]).problems
    assert "was pruned, and the period needs it" in problem


def test_a_pruned_period_makes_no_dossier(tmp_path: Path) -> None:
    """The message names the first hour that is gone; an hour before the period does not matter."""
    place = filed(tmp_path, 2, 22)
    first, last = place.store.chain.links()[1], place.store.chain.links()[-1]
    clock = place.store.chain._clock
    assert isinstance(clock, ManualClock)
    clock.step(401 * 86400)
    assert place.store.retention.prune(first.begin + timedelta(hours=1), ZONE, PRUNABLE) > 0
    clock.step(7200)
    place.store.chain.seal()
    with pytest.raises(UserError, match=r"latency of the hour from .* was pruned"):
        place.build(tmp_path / "none.zip")
    week = date_range(str((last.begin - timedelta(days=6)).date()), str(last.begin.date()), ZONE)
    Filed(place.store, place.config, week).build(tmp_path / "week.zip")
    found = verify(tmp_path / "week.zip", None, lambda _: None)
    assert found.problems == []
    assert found.notes == ["1 hours outside of the period were pruned"]
    forger = Forger.of(tmp_path / "week.zip")
    links = forger.files["chain/links.jsonl"].split(b"\n")
    links[2] = links[2].replace(b'"pruned": []', b'"pruned": ["bandwidth"]')
    forger.files["chain/links.jsonl"] = b"\n".join(links)
    forger.rehash()
    assert "retention never prunes" in check(forger, tmp_path).problems[0]
    place.store.close()


def test_a_contract_that_was_not_sealed_makes_no_dossier(place: Filed, tmp_path: Path) -> None:
    """Nor does a dossier verify in which it was changed, with all hashes fitting."""
    other = replace(place, config=with_contract(place.config, 10e6))
    with pytest.raises(UserError, match=r"link\.contracted: is 10Mbit/s .* sealed 4Mbit/s"):
        other.build(tmp_path / "none.zip")


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("thresholds", "delivered", "90%"),
        ("capacity", "seats", 60),
        ("capacity", "tariff", ["2Mbit/s", "10Mbit/s"]),
        ("district", "timezone", "Asia/Kathmandu"),
    ],
)
def test_settings_other_than_sealed_are_named(
    true: Forger, tmp_path: Path, section: str, key: str, value: Any
) -> None:
    """Contracts, thresholds, policy and tariff are those that the hub sealed last."""
    settings = true.json("settings.json")
    settings[section][key] = value
    true.set_json("settings.json", settings)
    true.rehash()
    [problem] = check(true, tmp_path).problems
    assert problem.startswith(f"settings.json: {section}.{key}: says") and "was sealed" in problem


def test_a_changed_setting_is_listed_in_letter_and_method(tmp_path: Path) -> None:
    """With its moment and both values; a dossier is made with the newest, against which no speed
    from before is held.
    """
    place = filed(tmp_path, 2, 22)
    clock = place.store.chain._clock
    assert isinstance(clock, ManualClock)
    config = with_contract(place.config, 10e6)
    place.store.event_log.add_event("", SETTINGS, clock.now(), settings_record(config))
    clock.step(7200)
    place.store.chain.seal()
    with pytest.raises(UserError, match=r"is 4Mbit/s .* sealed 10Mbit/s"):
        place.build(tmp_path / "none.zip")
    replace(place, config=config).build(tmp_path / "d.zip")
    found = verify(tmp_path / "d.zip", None, lambda _: None)
    assert (found.problems, found.notes) == ([], [])
    files = Forger.of(tmp_path / "d.zip").files
    changed, same = json.loads(files["claims.json"])["offices"].values()
    assert changed["verdict"] != "repair" and changed["delivered"]["down"]["value"] is None
    assert same["delivered"]["down"]["value"] is not None
    for language in LANGUAGES:
        for paper in ("letter", "method"):
            text = text_of(files[f"{paper}.{language}.pdf"])
            assert plain("4 Mbps") in text and plain("10 Mbps") in text
    letter = text_of(files["letter.en.pdf"])
    assert plain("contracted speed of") in letter
    assert plain("4 Mbps, since then 10 Mbps") in letter
    place.store.close()


def test_a_settings_event_of_another_form_makes_no_dossier(tmp_path: Path) -> None:
    """The message leads to where more is explained."""
    place = filed(tmp_path, 2, 15, sealed=False)
    at = place.period.start
    place.store.event_log.add_event("", SETTINGS, at, {"sha256": "0" * 64})
    clock = place.store.chain._clock
    assert isinstance(clock, ManualClock)
    clock.step(7200)
    place.store.chain.seal()
    with pytest.raises(UserError, match=r"see `db verify`: .* refers to settings that no event"):
        place.build(tmp_path / "none.zip")
    place.store.close()


def test_a_database_of_an_older_program_is_reported(tmp_path: Path) -> None:
    """Its dossier verifies, and says that the settings were not sealed."""
    place = filed(tmp_path, 2, 22, sealed=False)
    place.build(tmp_path / "d.zip")
    found = verify(tmp_path / "d.zip", None, lambda _: None)
    assert found.problems == []
    assert found.notes == [
        "contracts, thresholds, policy and tariff were not sealed: the file's own stand"
    ]
    method = text_of(Forger.of(tmp_path / "d.zip").files["method.en.pdf"])
    assert plain("were not yet sealed in the chain") in method
    place.store.close()


def test_the_retest_is_disclosed(tmp_path: Path) -> None:
    """The sheet states the medians with the first tests and with their repetitions."""
    place = filed(tmp_path, 2, 22, more=_retested())
    claims = place.build(tmp_path / "d.zip")
    office = place.config.offices[0]
    found = claims.offices[office.id].retests
    assert found.repeated == 300
    first, counted = (one[Direction.DOWN] for one in (found.first, found.counted))
    assert first is not None and counted is not None
    assert first.value == 2e6 and counted.value > 3.6e6
    text = text_of(Forger.of(tmp_path / "d.zip").files["sheets.en.pdf"])
    assert plain("Median of all first tests") in text
    assert verify(tmp_path / "d.zip", None, lambda _: None).problems == []
    place.store.close()


def _retested() -> Iterator[Measurement]:
    """Many slow tests at night, each repeated with a good result."""
    office = made_up.config(2).offices[0].id
    for number in range(300):
        night, minute = divmod(number, 15)
        at = WEEK.end - timedelta(days=night + 1, hours=2) - timedelta(minutes=4 * minute)
        test = made_up.bandwidth(office, at, 2e6, 2e6)
        due = {**test.conditions, RETEST: "due"}
        yield replace(test, id=f"due-{number}", conditions=due)
        again = made_up.bandwidth(office, at + timedelta(minutes=1), 3.9e6, 3.9e6)
        done = {**again.conditions, RETEST: "done", "retest_of": f"due-{number}"}
        yield replace(again, id=f"done-{number}", conditions=done)


def test_a_dossier_is_the_same_whether_the_hours_are_packed_or_not(tmp_path: Path) -> None:
    """The packets' round trips stay in the database; what a dossier says does not change when its
    hours are packed, and it verifies with the root either way."""
    place = filed(tmp_path, 2, 22, more=_with_packets())
    loose, packed = tmp_path / "loose.zip", tmp_path / "packed.zip"
    claims = place.build(loose)
    hours = 0
    while place.store.packing.step():
        hours += 1
    assert hours >= 24
    assert len(list(place.store.round_trips(place.config.offices[0].id, *PACKETS))) == 240
    assert place.build(packed) == claims
    first, second = Forger.of(loose).files, Forger.of(packed).files
    differing = {name for name in first if first[name] != second[name]}
    assert {n for n in differing if not n.startswith("working-copy/")} <= {"manifest.json"}
    assert not any(ROUND_TRIPS in name for name in first)
    assert ROUND_TRIPS in first["chain/links.jsonl"].decode()
    root = place.store.chain.root(MADE_AT)
    for one in (loose, packed):
        assert verify(one, root, lambda _: None).problems == []
    place.store.close()


PACKETS = (WEEK.end - timedelta(days=6), WEEK.end - timedelta(days=5))


def _with_packets() -> Iterator[Measurement]:
    """A day of minutes that hold each packet's round trip, every sixth minute."""
    office = made_up.config(2).offices[0].id
    for number in range(240):
        one = made_up.latency(office, PACKETS[0] + timedelta(minutes=6 * number), lost=number % 3)
        lost = [None] * (number % 3)
        yield replace(one, round_trips=(*lost, *(41_000 + n for n in range(60 - len(lost)))))
