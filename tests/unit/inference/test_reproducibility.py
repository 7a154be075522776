"""A request = itself: its tokens and log-probabilities, bit for bit, whoever else is running and whenever it came."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.inference.runs import Answer, Collected, draw_prompt, request, run
from tunery.inference.engine import Engine
from tunery.modeling.llama import CausalLM
from tunery.types.sampling import AdapterRef, SampleRequest

REQUESTS = st.lists(
    st.fixed_dictionaries(
        {
            "length": st.one_of(st.integers(1, 40), st.integers(41, 200)),
            "beginning": st.integers(0, 2),
            "adapter": st.integers(0, 4),
            "max_tokens": st.integers(1, 40),
            "temperature": st.sampled_from([0.0, 0.8, 1.0]),
            "top_p": st.sampled_from([0.9, 1.0]),
            "presence_penalty": st.sampled_from([0.0, 0.5]),
            "top_logprobs": st.sampled_from([0, 5]),
            "arrival": st.integers(0, 40),
            "cancelled_after": st.sampled_from([None, None, None, 3, 20]),
        }
    ),
    min_size=1,
    max_size=24,
)


@pytest.fixture(scope="module")
def run_alone(base: CausalLM) -> Callable[[SampleRequest], Answer]:
    """Each distinct request once in an engine of its own."""
    known: dict[tuple[int, str], Answer] = {}

    def alone(one: SampleRequest) -> Answer:
        key = torch.get_num_threads(), repr(one)
        if key not in known:
            known[key] = run(Engine(base), [one])[one.id]
        return known[key]

    return alone


def run_mixed(engine: Engine, requests: list[tuple[SampleRequest, int, int | None]]) -> Collected:
    """Each request is submitted at its arrival step and, when it has a second number, cancelled so many steps later."""
    collected = Collected()
    step = 0
    while not engine.idle or any(arrival >= step for _, arrival, _ in requests):
        for one, arrival, cancelled_after in requests:
            if arrival == step:
                engine.submit(one)
            if cancelled_after is not None and arrival + cancelled_after == step:
                engine.cancel(one.id)
        collected.take(engine.step())
        step += 1
    return collected


@settings(max_examples=40, deadline=None)
@given(mix=REQUESTS)
def test_answers_do_not_depend_on_neighbours(
    base: CausalLM,
    adapters: list[AdapterRef],
    run_alone: Callable[[SampleRequest], Answer],
    mix: list[dict[str, Any]],
) -> None:
    """Random prompts with shared beginnings, adapters of four shapes, arrivals, cancellations, one small cache."""
    requests = []
    for i, drawn in enumerate(mix):
        fields = {k: drawn[k] for k in ("max_tokens", "temperature", "top_p", "presence_penalty", "top_logprobs")}
        prompt = draw_prompt(200, seed=drawn["beginning"])[: drawn["length"]]
        one = request(i, prompt, adapter=[*adapters, None][drawn["adapter"]], **fields)
        requests.append((one, drawn["arrival"], drawn["cancelled_after"]))
    collected = run_mixed(Engine(base, cache_tokens_max=1536, adapters_max=2), requests)
    for one, _, cancelled_after in requests:
        alone = run_alone(one)
        if cancelled_after is None:
            assert collected.done[one.id] == alone
        elif one.id in collected.tokens:
            assert alone.tokens[: len(collected.tokens[one.id])] == collected.tokens[one.id]


def test_answers_do_not_depend_on_neighbours_with_two_threads(base: CausalLM, adapters: list[AdapterRef]) -> None:
    """Products are split between threads by shapes, which are fixed, so the promise holds there too."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        requests = [
            request(i, draw_prompt(30 + 17 * i), adapter=[*adapters, None][i], temperature=0.9, max_tokens=12)
            for i in range(5)
        ]
        together = run_mixed(Engine(base), [(one, 2 * i, None) for i, one in enumerate(requests)]).done
        assert together == {one.id: run(Engine(base), [one])[one.id] for one in requests}
    finally:
        torch.set_num_threads(before)


def test_same_seed_same_answer_other_seed_another(base: CausalLM) -> None:
    prompt = draw_prompt(30)
    answers = run(Engine(base), [request(i, prompt, seed=i // 2, temperature=1.0, max_tokens=30) for i in range(4)])
    assert answers[0] == answers[1]
    assert answers[2] == answers[3]
    assert answers[0].ids != answers[2].ids


def test_penalties_and_longer_limits_do_not_shift_the_draws(base: CausalLM) -> None:
    """Position i uses draw i of the seed, so a longer answer starts with the shorter one."""
    prompt = draw_prompt(30)
    short = run(Engine(base), [request(1, prompt, temperature=1.0, max_tokens=10)])[1]
    long = run(Engine(base), [request(1, prompt, temperature=1.0, max_tokens=25)])[1]
    assert long.tokens[:10] == short.tokens


def test_rows_in_any_place_of_the_batch_are_equal(base: CausalLM, adapters: list[AdapterRef]) -> None:
    """Sixteen twins under one adapter fill the batch: every row gives the same bits."""
    twins = [
        request(i, draw_prompt(50), adapter=adapters[1], max_tokens=30, seed=0, top_logprobs=20) for i in range(16)
    ]
    answers = run(Engine(base), twins)
    assert all(answer == answers[0] for answer in answers.values())
