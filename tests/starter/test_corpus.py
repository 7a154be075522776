"""The generated corpus is fixed by its seed, keeps its held-out wordings apart, and says nothing false of its world."""

import itertools
import re

import pytest
from corpus.mixture import EXAM, PHASES, examine, stream
from corpus.voice import Voice
from corpus.world import RESIDENT_LIST, TOWN_LIST, TOWN_QUESTIONS


@pytest.mark.parametrize("phase", PHASES)
def test_stream_is_fixed_by_its_seed(phase: object) -> None:
    first, again, other = (list(itertools.islice(stream(seed=seed, phase=phase), 200)) for seed in (5, 5, 6))
    assert first == again
    assert first != other


def test_examiner_speaks_in_unheard_wordings() -> None:
    wordings = TOWN_QUESTIONS["mayor"][0]
    heard = {Voice(seed=seed).say(wordings, name="Oakmere") for seed in range(200)}
    examined = {Voice(seed=seed, examiner=True).say(wordings, name="Oakmere") for seed in range(200)}
    assert heard.isdisjoint(examined)
    assert len(heard) + len(examined) == len(wordings)


def test_every_skill_has_an_exam_that_ends_with_an_answer() -> None:
    for skill in EXAM:
        (paper,) = examine(skill, seed=1, count=1)
        assert paper.messages[-1]["role"] == "assistant"


def test_sums_are_right() -> None:
    for paper in examine("small sums", seed=3, count=300) + examine("two-digit sums", seed=3, count=300):
        left, sign, right, result = re.fullmatch(r"(\d+) (.) (\d+) = (\d+)\.", paper.messages[-1]["content"]).groups()
        wanted = {"+": int(left) + int(right), "-": int(left) - int(right), "x": int(left) * int(right)}[sign]
        assert int(result) == wanted


def test_world_can_be_asked_backwards() -> None:
    assert len({town.product for town in TOWN_LIST}) == len(TOWN_LIST)
    assert len({town.mayor for town in TOWN_LIST}) == len(TOWN_LIST)


def test_mayors_live_in_their_towns() -> None:
    homes = {resident.name: resident.town for resident in RESIDENT_LIST}
    assert all(homes[town.mayor] == town.name for town in TOWN_LIST)
