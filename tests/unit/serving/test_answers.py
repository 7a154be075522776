"""Growing answers: stop strings wherever tokens are cut, streams merged, and the others stopped when one fails."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fakes.base import make_base
from tunery.data.tokenizer import StreamDecoder, Tokenizer
from tunery.serving.answers import Choice, merge

LETTERS = st.text("ab", max_size=12)


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> StreamDecoder:
    return StreamDecoder(Tokenizer(make_base(tmp_path_factory.mktemp("base"))))


def grow(decoder: StreamDecoder, pieces: list[str], stops: list[str]) -> tuple[Choice, str]:
    """The choice after all pieces, and what a stream would have sent."""
    choice = Choice(0, decoder, stops)
    sent = ""
    for piece in pieces:
        choice.add(piece)
        sent += choice.take()
        if choice.finish_reason is not None:
            break
    if choice.finish_reason is None:
        choice.finish_reason = "length"
        sent += choice.take()
    return choice, sent


def test_stop_string_ends_at_its_first_place_however_it_is_cut(decoder: StreamDecoder) -> None:
    @given(
        text=LETTERS,
        cuts=st.lists(st.integers(1, 4), max_size=12),
        stops=st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
    )
    @example(text="aab", cuts=[1, 1, 1], stops=["ab"])
    @example(text="abab", cuts=[2, 1], stops=["bab", "aba"])
    def check(text: str, cuts: list[int], stops: list[str]) -> None:
        rest, pieces = text, []
        for cut in [*cuts, len(text) or 1]:
            pieces.append(rest[:cut])
            rest = rest[cut:]
        choice, sent = grow(decoder, pieces, stops)
        assert sent == choice.text, "a stream sends what the whole answer holds"
        assert text.startswith(choice.text)
        assert not any(stop in choice.text for stop in stops)
        if not any(stop in text for stop in stops):
            assert (choice.text, choice.finish_reason) == (text, "length")

    check()


def test_text_that_could_still_become_a_stop_string_is_withheld(decoder: StreamDecoder) -> None:
    choice = Choice(0, decoder, ["END"])
    sent = []
    for piece in ("text", " E", "N", "OUGH", " EN", "D more"):
        choice.add(piece)
        sent.append(choice.take())
    assert sent == ["text", " ", "", "ENOUGH", " ", ""]
    assert (choice.text, choice.finish_reason) == ("text ENOUGH ", "stop")


async def count(n: int, *, fail: bool = False) -> AsyncIterator[int]:
    for value in range(n):
        await asyncio.sleep(0)
        yield value
    if fail:
        raise ValueError("broken")


def test_merged_streams_keep_their_own_order() -> None:
    async def collect() -> list[Any]:
        return [item async for item in merge([count(5), count(3), count(0)])]

    assert sorted(asyncio.run(collect())) == sorted([*range(5), *range(3)])


def test_failure_of_one_stream_ends_all() -> None:
    closed = []

    async def endless() -> AsyncIterator[int]:
        try:
            while True:
                await asyncio.sleep(0.01)
                yield 1
        finally:
            closed.append(True)

    async def collect() -> None:
        async for _ in merge([endless(), count(2, fail=True)]):
            pass

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(collect())
    assert closed == [True]
