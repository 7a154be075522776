"""Every pair of states, written out a second time: a change of the table must be meant."""

import itertools

import pytest

from tunery.lifecycle import ACTIVE, MOVES, TERMINAL, Status, sources

LEGAL = {
    "validating_files": "queued paused failed cancelled",
    "queued": "running paused failed cancelled",
    "running": "queued paused succeeded failed cancelled",
    "paused": "validating_files queued cancelled",
    "succeeded": "",
    "failed": "",
    "cancelled": "",
}


@pytest.mark.parametrize(("source", "target"), list(itertools.product(Status, Status)))
def test_move_is_legal_where_the_table_says_so(source: Status, target: Status) -> None:
    legal = target in LEGAL[source].split()
    assert (target in MOVES[source]) == legal
    assert (source in sources(target)) == legal


def test_nothing_leaves_a_terminal_state_and_everything_else_can_reach_one() -> None:
    assert {status for status in Status if not MOVES[status]} == TERMINAL
    assert set(Status) == ACTIVE | TERMINAL
    assert all(Status.CANCELLED in MOVES[status] for status in ACTIVE)
