"""One draw: what the parameters mean, and that a row's draw is its own."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tunery.inference.sampling import Sampler, draw_uniform, sample
from tunery.types.sampling import SampleRequest


def sampler(*, position: int = 0, counts: dict[int, int] | None = None, **parameters: object) -> Sampler:
    fields = {"id": 1, "prompt": [1], "adapter": None, "max_tokens": 9, "seed": 0} | parameters
    return Sampler(SampleRequest(**fields), position=position, counts=dict(counts or {}))  # type: ignore[arg-type]


def draw(logits: list[float], **parameters: object) -> int:
    (token,) = sample(torch.tensor([logits]), [sampler(**parameters)])
    assert token is not None
    return token.token


def shares(logits: list[float], *, draws: int = 4000, **parameters: object) -> list[float]:
    """How often each token came out over many positions of one seed."""
    drawn = sample(torch.tensor([logits]).expand(draws, -1), [sampler(position=i, **parameters) for i in range(draws)])
    tokens = [token.token for token in drawn if token is not None]
    return [tokens.count(token) / draws for token in range(len(logits))]


def test_uniform_is_a_fixed_function_of_seed_and_position() -> None:
    assert draw_uniform(7, 3) == 0.1846062188940465
    assert draw_uniform(7, 3) != draw_uniform(7, 4) != draw_uniform(8, 3)
    assert draw_uniform(-1, 0) == draw_uniform(2**64 - 1, 0)


def test_uniform_fills_the_unit_interval_evenly() -> None:
    drawn = [draw_uniform(seed, position) for seed in range(40) for position in range(100)]
    assert all(0.0 <= u < 1.0 for u in drawn)
    tenths = [sum(int(10 * u) == tenth for u in drawn) for tenth in range(10)]
    assert all(abs(count - 400) < 5 * math.sqrt(360) for count in tenths)


def test_temperature_zero_takes_the_likeliest() -> None:
    assert draw([0.1, 2.0, 1.9], temperature=0.0) == 1


def test_temperature_almost_zero_takes_the_likeliest_without_overflow() -> None:
    assert draw([300.0, 301.0, -900.0], temperature=1e-30) == 1


def test_temperature_reshapes_the_shares() -> None:
    """softmax(ln 8 / T, 0) is 8/9 at T = 1 and sqrt(8) / (sqrt(8) + 1) = 0.739 at T = 2."""
    assert shares([math.log(8.0), 0.0])[0] == pytest.approx(8 / 9, abs=0.02)
    assert shares([math.log(8.0), 0.0], temperature=2.0)[0] == pytest.approx(0.7388, abs=0.025)


def test_top_p_keeps_the_fewest_tokens_that_hold_it() -> None:
    """Shares 0.5, 0.3, 0.15, 0.05: 0.7 needs two tokens, which then share 5 : 3."""
    logits = [math.log(p) for p in (0.05, 0.5, 0.15, 0.3)]
    kept = shares(logits, top_p=0.7)
    assert kept[0] == kept[2] == 0.0
    assert kept[1] == pytest.approx(0.625, abs=0.03)


def test_top_p_zero_takes_the_likeliest() -> None:
    assert shares([0.0, 0.2, 0.1], draws=50, top_p=0.0) == [0.0, 1.0, 0.0]


def test_top_p_wider_than_the_first_candidates_reaches_all_tokens() -> None:
    """1,000 equal tokens at top_p 0.999: the 256 candidates looked at first hold a quarter of the mass."""
    drawn = shares([0.0] * 1000, draws=2000, top_p=0.999)
    assert sum(share > 0 for share in drawn) > 700
    assert max(drawn) < 0.01


def test_no_token_without_mass_is_drawn() -> None:
    """A bias of -100 on both ends leaves float32 probabilities of exactly 0."""
    drawn = shares([50.0, 0.0, -3.0, 50.0], draws=500, logit_bias={0: -200.0, 3: -200.0})
    assert drawn[0] == drawn[3] == 0.0


def test_logit_bias_moves_the_draw_but_not_the_reported_logprob() -> None:
    (token,) = sample(torch.tensor([[1.0, 0.0]]), [sampler(temperature=0.0, logit_bias={1: 5.0}, top_logprobs=2)])
    assert token is not None
    assert token.token == 1
    assert token.logprob == pytest.approx(-math.log(1 + math.e), abs=1e-6)
    assert token.top[0] == (0, pytest.approx(1 - math.log(1 + math.e), abs=1e-6))


def test_frequency_penalty_counts_every_occurrence() -> None:
    """2.0 - 3 * 0.6 = 0.2 loses against 0.3; with two occurrences 0.8 wins."""
    assert draw([2.0, 0.3], temperature=0.0, frequency_penalty=0.6, counts={0: 3}) == 1
    assert draw([2.0, 0.3], temperature=0.0, frequency_penalty=0.6, counts={0: 2}) == 0


def test_presence_penalty_counts_once() -> None:
    assert draw([2.0, 0.3], temperature=0.0, presence_penalty=1.8, counts={0: 1}) == 1
    assert draw([2.0, 0.3], temperature=0.0, presence_penalty=1.6, counts={0: 50}) == 0


def test_penalties_follow_the_drawn_tokens() -> None:
    one = sampler(temperature=0.0, presence_penalty=2.0)
    logits = torch.tensor([[3.0, 2.5, 1.2, 0.0]])
    assert [token.token for _ in range(4) for token in sample(logits, [one]) if token] == [0, 1, 2, 0]


def test_logprob_ignores_temperature() -> None:
    (token,) = sample(torch.tensor([[2.0, 1.0, 0.0]]), [sampler(temperature=0.3, top_p=0.1)])
    assert token is not None
    assert token.logprob == pytest.approx(float(torch.log_softmax(torch.tensor([2.0, 1.0, 0.0]), -1)[0]), abs=1e-6)


def test_top_logprobs_are_sorted_and_cut() -> None:
    (token,) = sample(torch.tensor([[0.0, 3.0, 1.0, 2.0]]), [sampler(top_logprobs=3)])
    assert token is not None
    assert [alternative for alternative, _ in token.top] == [1, 3, 2]


@pytest.mark.parametrize("strange", [math.nan, math.inf])
def test_row_that_is_no_number_fails_alone(strange: float) -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0], [0.0, strange, 1.0], [2.0, 1.0, 0.0]])
    samplers = [sampler(temperature=0.0), sampler(), sampler(temperature=0.0)]
    first, second, third = sample(logits, samplers)
    assert second is None
    assert first is not None
    assert third is not None
    assert (first.token, third.token) == (2, 0)
    assert [one.position for one in samplers] == [1, 0, 1]


PARAMETERS = st.fixed_dictionaries(
    {
        "temperature": st.sampled_from([0.0, 0.4, 1.0, 1.7]),
        "top_p": st.sampled_from([0.2, 0.9, 1.0]),
        "seed": st.integers(0, 2**63 - 1),
        "position": st.integers(0, 500),
        "top_logprobs": st.sampled_from([0, 2, 20]),
        "frequency_penalty": st.sampled_from([0.0, 0.7]),
        "logit_bias": st.sampled_from([{}, {5: 3.0}, {0: -100.0, 299: 2.0}]),
        "counts": st.sampled_from([{}, {5: 2, 17: 1}]),
    }
)


@settings(max_examples=60, deadline=None)
@given(st.lists(PARAMETERS, min_size=1, max_size=16), st.integers(0, 2**31))
def test_a_row_among_others_draws_what_it_draws_alone(rows: list[dict[str, object]], seed: int) -> None:
    logits = torch.randn(len(rows), 300, generator=torch.Generator().manual_seed(seed)) * 3
    together = sample(logits, [sampler(**row) for row in rows])
    alone = [sample(logits[i : i + 1], [sampler(**row)])[0] for i, row in enumerate(rows)]
    assert together == alone
