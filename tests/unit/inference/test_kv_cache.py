"""The pool: extents never overlap, its bound holds, and what one sequence copies is what another computed."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.inference.runs import draw_prompt
from tunery.inference.kv_cache import CHUNK_TOKENS, Extent, KVCache
from tunery.modeling.llama import CausalLM


@pytest.fixture(scope="module")
def make_cache(base: CausalLM) -> Callable[[int], KVCache]:
    def make(tokens_max: int) -> KVCache:
        return KVCache(base.config, tokens_max=tokens_max, dtype=torch.float32, device=base.device)

    return make


def compute(cache: KVCache, extent: Extent, prompt: list[int]) -> None:
    """Stand in for the model: keys and values that name their token."""
    for pool in (cache.keys_LPGK, cache.values_LPGK):
        pool[:, extent.start : extent.start + len(prompt)] = torch.tensor(prompt, dtype=torch.float32)[:, None, None]
    extent.prompt, extent.length = prompt, len(prompt)
    extent.final_D = torch.tensor([float(prompt[-1])])


def held(cache: KVCache, extent: Extent) -> list[int]:
    """The tokens that an extent's keys name, the same in every layer, head and in the values."""
    keys = torch.stack(cache.keys(extent, extent.length))
    values = torch.stack(cache.values(extent, extent.length))
    assert torch.equal(keys.transpose(2, 3), values)
    assert (keys == keys[:1, :1, :1]).all()
    return keys[0, 0, 0].int().tolist()


def test_reserve_rounds_up_to_chunks_and_refuses_beyond_the_bound(make_cache: Callable[[int], KVCache]) -> None:
    cache = make_cache(4 * CHUNK_TOKENS + 5)
    first = cache.reserve(CHUNK_TOKENS + 1, adapter_key=None)
    assert first is not None
    assert first.capacity == 2 * CHUNK_TOKENS
    assert cache.reserve(3 * CHUNK_TOKENS, adapter_key=None) is None
    assert cache.reserve(2 * CHUNK_TOKENS, adapter_key=None) is not None
    assert cache.reserved_tokens == cache.tokens_max == 4 * CHUNK_TOKENS


def test_cache_below_one_chunk_is_refused(make_cache: Callable[[int], KVCache]) -> None:
    with pytest.raises(ValueError, match="smaller than one chunk"):
        make_cache(CHUNK_TOKENS - 1)


def test_idle_extents_give_way_oldest_first(make_cache: Callable[[int], KVCache]) -> None:
    cache = make_cache(4 * CHUNK_TOKENS)
    old, new = draw_prompt(CHUNK_TOKENS + 1, seed=1), draw_prompt(CHUNK_TOKENS + 1, seed=2)
    for prompt in (old, new):
        extent = cache.reserve(len(prompt), adapter_key=None)
        assert extent is not None
        compute(cache, extent, prompt)
        cache.release(extent)
    third = cache.reserve(CHUNK_TOKENS, adapter_key=None)
    assert third is not None
    assert cache.adopt_prefix(third, old[:CHUNK_TOKENS]) == 0
    probe = cache.reserve(CHUNK_TOKENS, adapter_key=None)
    assert probe is not None
    assert cache.adopt_prefix(probe, [*new[:CHUNK_TOKENS], 1]) == CHUNK_TOKENS


def test_room_left_in_pieces_is_brought_together(make_cache: Callable[[int], KVCache]) -> None:
    """Four running extents; the first and third leave; a fifth of their joint size fits after the move."""
    cache = make_cache(4 * CHUNK_TOKENS)
    prompts = [draw_prompt(CHUNK_TOKENS - 3, seed=i) for i in range(4)]
    extents = []
    for prompt in prompts:
        extent = cache.reserve(len(prompt), adapter_key=None)
        assert extent is not None
        compute(cache, extent, prompt)
        extents.append(extent)
    for gone in (extents[0], extents[2]):
        cache.release(gone)
    assert cache.reserve(2 * CHUNK_TOKENS, adapter_key=None) is not None
    assert held(cache, extents[1]) == prompts[1]
    assert held(cache, extents[3]) == prompts[3]


def test_adopt_copies_whole_chunks_of_the_longest_shared_beginning(make_cache: Callable[[int], KVCache]) -> None:
    cache = make_cache(20 * CHUNK_TOKENS)
    prompt = draw_prompt(3 * CHUNK_TOKENS + 10)
    short, long = cache.reserve(200, adapter_key="a"), cache.reserve(300, adapter_key="a")
    assert short is not None
    assert long is not None
    compute(cache, short, prompt[: CHUNK_TOKENS + 5])
    compute(cache, long, prompt)
    asked = [*prompt[: 2 * CHUNK_TOKENS + 30], 0, 0]
    target = cache.reserve(len(asked), adapter_key="a")
    assert target is not None
    assert cache.adopt_prefix(target, asked) == 2 * CHUNK_TOKENS
    assert held(cache, target) == asked[: 2 * CHUNK_TOKENS]
    assert target.final_D is None


def test_adopt_takes_an_equal_prompt_whole(make_cache: Callable[[int], KVCache]) -> None:
    cache = make_cache(20 * CHUNK_TOKENS)
    prompt = draw_prompt(CHUNK_TOKENS + 7)
    source, target = cache.reserve(100, adapter_key=None), cache.reserve(100, adapter_key=None)
    assert source is not None
    assert target is not None
    compute(cache, source, prompt)
    assert cache.adopt_prefix(target, prompt) == len(prompt)
    assert held(cache, target) == prompt
    assert target.final_D is source.final_D


def test_adopt_leaves_the_last_token_to_be_computed(make_cache: Callable[[int], KVCache]) -> None:
    """A prompt of exactly two chunks inside a longer one: the second chunk's final state is not known."""
    cache = make_cache(20 * CHUNK_TOKENS)
    prompt = draw_prompt(3 * CHUNK_TOKENS)
    source, target = cache.reserve(len(prompt), adapter_key=None), cache.reserve(len(prompt), adapter_key=None)
    assert source is not None
    assert target is not None
    compute(cache, source, prompt)
    assert cache.adopt_prefix(target, prompt[: 2 * CHUNK_TOKENS]) == CHUNK_TOKENS


def test_adopt_never_crosses_adapters(make_cache: Callable[[int], KVCache]) -> None:
    cache = make_cache(20 * CHUNK_TOKENS)
    prompt = draw_prompt(2 * CHUNK_TOKENS)
    source = cache.reserve(len(prompt), adapter_key="a")
    assert source is not None
    compute(cache, source, prompt)
    for other in ("b", None):
        target = cache.reserve(len(prompt), adapter_key=other)
        assert target is not None
        assert cache.adopt_prefix(target, prompt) == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 400), st.integers(0, 5), st.booleans()), min_size=1, max_size=40))
def test_extents_never_overlap_and_keep_their_contents(
    make_cache: Callable[[int], KVCache], moves: list[tuple[int, int, bool]]
) -> None:
    """Random reservations (length, beginning) and releases of the oldest, contents checked after each move."""
    cache = make_cache(16 * CHUNK_TOKENS)
    running: list[tuple[Extent, list[int]]] = []
    for length, seed, leaves in moves:
        if leaves and running:
            cache.release(running.pop(0)[0])
        prompt = draw_prompt(400, seed=seed)[:length]
        free = cache.tokens_max - cache.reserved_tokens
        extent = cache.reserve(length, adapter_key=None)
        assert (extent is None) == (-(-length // CHUNK_TOKENS) * CHUNK_TOKENS > free)
        if extent is not None:
            shared = cache.adopt_prefix(extent, prompt)
            assert held(cache, extent) == prompt[:shared]
            compute(cache, extent, prompt)
            running.append((extent, prompt))
        spans = sorted((one.start, one.start + one.capacity) for one, _ in running)
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
        assert all(end <= cache.tokens_max for _, end in spans)
        assert all(held(cache, one) == tokens for one, tokens in running)
