"""The links on which the product is compared with Chromium, and what their calls showed."""

from __future__ import annotations

import pytest

from tests.bench.chromium_collect import HARD_TRUTH
from tests.bench.chromium_hard import HELD, held_links
from tests.bench.chromium_pairs import HARD_PAIRS, Pair, hard_pairs
from tests.bench.chromium_truth import Truths
from tests.bench.twin import true_line


@pytest.mark.parametrize("pair", hard_pairs(), ids=lambda pair: pair.after.name.split()[0])
def test_a_changed_link_is_what_the_what_if_answers_for(pair: Pair) -> None:
    """Else Chromium would be called over another line than the twin simulates."""
    assert true_line(pair.after) == pair.change.applied(true_line(pair.before))
    assert pair.change.applied(true_line(pair.before)) != true_line(pair.before)


def test_every_drawn_link_was_called_as_the_help_states() -> None:
    """Held links twice, three times where the grades differ; each changed link at least once."""
    runs = Truths(HARD_TRUTH).runs
    links = held_links()
    assert (len(links), len(hard_pairs())) == (HELD, HARD_PAIRS)
    for link in links:
        grades = [run.grade() for run in runs[link.name]]
        assert len(grades) >= (2 if len(set(grades[:2])) == 1 else 3), link.name
    assert all(pair.after.name in runs for pair in hard_pairs())
