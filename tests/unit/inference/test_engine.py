"""The scheduler: order, limits, cancellation, failures of single requests, and the cache doing what it is for."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.unit.inference.runs import POSITIONS, VOCABULARY, Collected, drain, draw_prompt, request, run
from tunery.inference.engine import BATCH_ROWS, Engine
from tunery.inference.kv_cache import CHUNK_TOKENS
from tunery.modeling.llama import Attend, CausalLM, Lora
from tunery.types.sampling import AdapterRef, Sampled


class CountingModel(CausalLM):
    """The base, keeping the number of rows of every forward pass."""

    def __init__(self, base: CausalLM) -> None:
        super().__init__(base.config, base.weights)
        self.passes: list[int] = []

    def hidden(
        self, tokens_R: torch.Tensor, *, positions: torch.Tensor, attend: Attend, lora: Lora | None = None
    ) -> torch.Tensor:
        self.passes.append(len(tokens_R))
        return super().hidden(tokens_R, positions=positions, attend=attend, lora=lora)


def test_tokens_come_one_a_step_with_the_reason_on_the_last(base: CausalLM) -> None:
    engine = Engine(base)
    assert engine.idle
    engine.submit(request(1, draw_prompt(10), max_tokens=3))
    messages = []
    while not engine.idle:
        messages += engine.step()
    assert [len(one.tokens) for one in messages if isinstance(one, Sampled)] == [1, 1, 1]
    assert [one.finish_reason for one in messages if isinstance(one, Sampled)] == [None, None, "length"]


def test_stop_token_ends_the_answer_and_is_reported(base: CausalLM) -> None:
    prompt = draw_prompt(20)
    free = run(Engine(base), [request(1, prompt, max_tokens=12)])[1]
    stop = free.ids[5]
    stopped = run(Engine(base), [request(1, prompt, max_tokens=12, stop_tokens=(stop, VOCABULARY - 1))])[1]
    assert stopped.end == "stop"
    assert stopped.tokens == free.tokens[: free.ids.index(stop) + 1]


def test_answer_ends_where_the_context_does(base: CausalLM) -> None:
    answer = run(Engine(base), [request(1, draw_prompt(POSITIONS - 5), max_tokens=100)])[1]
    assert (len(answer.tokens), answer.end) == (5, "length")


@pytest.mark.parametrize("length", [POSITIONS, POSITIONS + 70])
def test_prompt_that_fills_the_context_is_refused_as_openai_does(base: CausalLM, length: int) -> None:
    answer = run(Engine(base), [request(1, [1] * length)])[1]
    assert answer.end == "context_length_exceeded"
    assert answer.message == (
        f"This model's maximum context length is {POSITIONS} tokens. However, your messages resulted in {length} "
        "tokens. Please reduce the length of the messages."
    )


def test_context_is_no_longer_than_the_cache(base: CausalLM) -> None:
    answers = run(Engine(base, cache_tokens_max=128), [request(1, [1] * 128), request(2, [1] * 120, max_tokens=50)])
    assert answers[1].end == "context_length_exceeded"
    assert "128 tokens" in answers[1].message
    assert len(answers[2].tokens) == 8


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": []},
        {"prompt": [VOCABULARY]},
        {"prompt": [-1]},
        {"max_tokens": 0},
        {"logit_bias": {VOCABULARY + 7: 1.0}},
    ],
)
def test_request_that_cannot_run_is_refused_alone(base: CausalLM, fields: dict[str, object]) -> None:
    bad = request(1, **({"prompt": [1, 2]} | fields))  # type: ignore[arg-type]
    answers = run(Engine(base), [bad, request(2, [1, 2])])
    assert (answers[1].end, answers[2].end) == ("invalid_value", "length")


def test_requests_beyond_the_slots_wait_in_order(base: CausalLM) -> None:
    engine = Engine(base)
    collected, first_seen = Collected(), []
    for i in range(40):
        engine.submit(request(i, draw_prompt(5 + i), max_tokens=6))
    while not engine.idle:
        messages = engine.step()
        first_seen += [one.id for one in messages if one.id not in collected.tokens]
        collected.take(messages)
        assert len(collected.tokens) - len(collected.done) <= BATCH_ROWS
    assert first_seen == list(range(40))
    assert all(len(answer.tokens) == 6 for answer in collected.done.values())


def test_more_slots_run_in_further_batches_with_the_same_answers(base: CausalLM) -> None:
    requests = [request(i, draw_prompt(5 + i), max_tokens=9) for i in range(40)]
    assert run(Engine(base, slots=33), requests) == run(Engine(base), requests)


def test_requests_beyond_the_queue_are_refused(base: CausalLM) -> None:
    answers = run(Engine(base, waiting_max=3), [request(i, [1, 2]) for i in range(5)])
    assert [answers[i].end for i in range(5)] == ["length"] * 3 + ["rate_limit_exceeded"] * 2
    assert "3 requests are waiting" in answers[4].message


def test_cache_without_room_makes_requests_wait(base: CausalLM) -> None:
    """Two sequences of 128 tokens fit into 300; all five finish."""
    engine = Engine(base, cache_tokens_max=300)
    collected = Collected()
    for i in range(5):
        engine.submit(request(i, draw_prompt(100, seed=i), max_tokens=28))
    while not engine.idle:
        collected.take(engine.step())
        assert len(collected.tokens) - len(collected.done) <= 2
    assert [len(collected.done[i].tokens) for i in range(5)] == [28] * 5


@pytest.mark.parametrize("steps", [0, 1, 4])
def test_cancelled_request_says_nothing_more_and_frees_its_room(base: CausalLM, steps: int) -> None:
    """Cancelled while waiting, in the middle of its prompt, and while answering."""
    engine = Engine(base, cache_tokens_max=256)
    engine.submit(request(1, draw_prompt(150), max_tokens=100))
    engine.submit(request(2, draw_prompt(120), max_tokens=100))
    for _ in range(steps):
        engine.step()
    engine.cancel(1)
    engine.cancel(77)
    assert set(drain(engine)) == {2}


def test_cancelled_refusal_says_nothing(base: CausalLM) -> None:
    engine = Engine(base)
    engine.submit(request(1, []))
    engine.cancel(1)
    assert engine.idle


def test_unusable_adapter_fails_its_request_alone(base: CausalLM, adapters: list[AdapterRef], tmp_path: Path) -> None:
    missing = AdapterRef(path=str(tmp_path / "gone"), sha256="0" * 64)
    engine = Engine(base)
    answers = run(
        engine, [request(1, [1, 2]), request(2, [1, 2], adapter=missing), request(3, [1], adapter=adapters[0])]
    )
    assert [answers[i].end for i in (1, 2, 3)] == ["length", "model_not_found", "length"]
    assert answers[2].message == "The tuned model cannot be loaded: its files are missing or damaged."
    assert str(tmp_path) not in answers[2].message


def test_adapters_over_the_limit_are_loaded_again(base: CausalLM, adapters: list[AdapterRef]) -> None:
    engine = Engine(base, adapters_max=1)
    prompt = draw_prompt(30)
    alone = {i: run(Engine(base), [request(i, prompt, adapter=ref)])[i] for i, ref in enumerate(adapters)}
    for _ in range(2):
        assert run(engine, [request(i, prompt, adapter=ref) for i, ref in enumerate(adapters)]) == alone


def test_diverged_adapter_fails_its_request_alone(base: CausalLM, publish_adapter: Callable[..., AdapterRef]) -> None:
    """Finite weights whose products overflow."""
    broken = publish_adapter(seed=60, fill=3e38)
    fine = request(2, draw_prompt(12), max_tokens=20)
    alone = run(Engine(base), [fine])[2]
    answers = run(Engine(base), [request(1, draw_prompt(20), adapter=broken, max_tokens=20), fine])
    assert answers[1].end == "server_error"
    assert "not finite" in answers[1].message
    assert answers[2] == alone


def test_failure_in_one_prompt_leaves_the_others(base: CausalLM) -> None:
    """A model that runs out of memory on the one long prompt."""

    class Narrow(CountingModel):
        def hidden(self, tokens_R: torch.Tensor, **arguments: object) -> torch.Tensor:
            if len(tokens_R) == CHUNK_TOKENS:
                raise RuntimeError("out of memory")
            return super().hidden(tokens_R, **arguments)  # type: ignore[arg-type]

    answers = run(Engine(Narrow(base)), [request(1, draw_prompt(10)), request(2, draw_prompt(70))])
    assert (answers[1].end, answers[2].end) == ("length", "server_error")
    assert answers[2].message == "The model could not process this request."


def test_equal_prompts_are_computed_once(base: CausalLM) -> None:
    """Eight choices of one prompt: its three chunks are computed once, the rest is decoding."""
    model = CountingModel(base)
    prompt = draw_prompt(2 * CHUNK_TOKENS + 40)
    answers = run(Engine(model), [request(i, prompt, seed=i, temperature=1.0) for i in range(8)])
    assert [rows for rows in model.passes if rows != BATCH_ROWS] == [CHUNK_TOKENS] * 3
    assert len({tuple(answer.ids) for answer in answers.values()}) > 1


def test_next_turn_computes_only_what_is_new(base: CausalLM) -> None:
    model = CountingModel(base)
    engine = Engine(model)
    prompt = draw_prompt(3 * CHUNK_TOKENS + 5)
    answer = run(engine, [request(1, prompt)])[1]
    model.passes.clear()
    turn = [*prompt, *answer.ids, *draw_prompt(20)]
    continued = run(engine, [request(2, turn)])[2]
    assert [rows for rows in model.passes if rows != BATCH_ROWS] == [CHUNK_TOKENS]
    assert continued == run(Engine(base), [request(2, turn)])[2]


def test_running_answers_go_on_while_prompts_are_computed(base: CausalLM) -> None:
    """A request of 500 tokens arrives: the running answer gets tokens in between its eight chunks."""
    engine = Engine(base)
    engine.submit(request(1, [1, 2], max_tokens=100))
    engine.step()
    engine.submit(request(2, draw_prompt(500), max_tokens=1))
    collected = Collected()
    while 2 not in collected.done:
        collected.take(engine.step())
    assert len(collected.tokens[1]) >= 1
    assert len(collected.tokens[1]) <= 8


def test_rollout_leaves_nothing_that_training_cannot_use(base: CausalLM, adapters: list[AdapterRef]) -> None:
    """No tensor made under inference mode gets into a cache that a backward pass may meet (trl#5818)."""
    engine = Engine(base)
    run(engine, [request(1, draw_prompt(70), adapter=adapters[0])])
    extent = engine._cache._extents[0]
    assert extent.final_D is not None
    assert not extent.final_D.is_inference()
    weight = torch.ones(64, requires_grad=True)
    (weight * extent.final_D).sum().backward()
    assert weight.grad is not None


def test_closed_engine_is_idle(base: CausalLM) -> None:
    engine = Engine(base)
    engine.submit(request(1, [1, 2], max_tokens=50))
    engine.step()
    engine.close()
    assert engine.idle
