"""The packaged files keep what the issue and the card promise: size, shape, tokenizer, template."""

import json
import re
from typing import Any

import jinja2.sandbox
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedModel

from tunery.starter import FOLDER, SAMPLES

PARAMETERS_MAX = 4_000_000
FILE_BYTES_MAX = 15 * 2**20
CHARACTERS_PER_TOKEN_MIN = 2.5
SPECIAL = ("<|pad|>", "<|bos|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>")
HELD_OUT_PROSE = (
    "Rosa keeps 14 hens on her farm. Every hen lays 5 eggs a week, and she sells the eggs at the market for 2 "
    "dollars a dozen. Her neighbour Otto helps her on weekends and gets 6 eggs each time. How many eggs can Rosa "
    "sell in a month? First find how many eggs the hens lay in one week, then subtract the eggs that Otto takes "
    "home, and multiply the rest by the number of weeks. The train to the city leaves at 8 o'clock in the morning "
    "and needs about three hours. A class of 24 students went to the museum; half of them paid the full price and "
    "the others paid nothing."
)
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "day": {"type": "string"}}},
    },
}
CALL = {"id": "c", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}
TALK: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Weather in Oslo?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c", "content": '{"sky": "clear"}'},
    {"role": "assistant", "content": "It is clear."},
    {"role": "user", "content": [{"type": "text", "text": "Tha"}, {"type": "text", "text": "nks"}]},
    {"role": "assistant", "content": "You are welcome!"},
]


def render(messages: list[dict[str, Any]], **more: Any) -> str:
    source = (FOLDER / "chat_template.jinja").read_text()
    return jinja2.sandbox.ImmutableSandboxedEnvironment().from_string(source).render(messages=messages, **more)


def test_model_has_the_promised_shape(starter: PreTrainedModel) -> None:
    config = starter.config
    assert config.model_type == "llama"
    assert config.max_position_embeddings >= 2048
    assert config.vocab_size <= 4096
    assert config.vocab_size % 64 == 0
    assert sum(weight.numel() for weight in starter.parameters()) <= PARAMETERS_MAX
    assert starter.get_input_embeddings().weight is starter.get_output_embeddings().weight


def test_weights_are_bf16_finite_and_small() -> None:
    path = FOLDER / "model.safetensors"
    assert path.stat().st_size <= FILE_BYTES_MAX
    with safe_open(path, framework="pt") as weights:
        assert "lm_head.weight" not in weights.keys()  # noqa: SIM118
        for name in weights.keys():  # noqa: SIM118
            assert str(weights.get_tensor(name).dtype) == "torch.bfloat16"
            assert weights.get_tensor(name).isfinite().all()


@given(text=st.text(st.characters(codec="utf-8"), max_size=60))
def test_tokenizer_gives_any_text_back(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_tokenizer_needs_few_tokens_for_schoolbook_english(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode(HELD_OUT_PROSE, add_special_tokens=False).ids
    assert len(HELD_OUT_PROSE) / len(tokens) >= CHARACTERS_PER_TOKEN_MIN


def test_special_tokens_are_single_and_distinct(tokenizer: Tokenizer) -> None:
    ids = [tokenizer.encode(mark, add_special_tokens=False).ids for mark in SPECIAL]
    assert len({tuple(found) for found in ids}) == len(SPECIAL)
    assert all(len(found) == 1 for found in ids)


def test_stop_token_is_the_end_of_a_turn(tokenizer: Tokenizer) -> None:
    settings = json.loads((FOLDER / "tokenizer_config.json").read_text())
    config = json.loads((FOLDER / "config.json").read_text())
    assert settings["eos_token"] == "<|end|>"
    assert config["eos_token_id"] == tokenizer.token_to_id("<|end|>")
    assert config["bos_token_id"] == tokenizer.token_to_id(settings["bos_token"])
    assert config["pad_token_id"] == tokenizer.token_to_id(settings["pad_token"])


@pytest.mark.parametrize("tools", [None, [TOOL]])
def test_transformers_and_plain_jinja_render_alike(tools: list[dict[str, Any]] | None) -> None:
    ours = AutoTokenizer.from_pretrained(FOLDER)
    theirs = ours.apply_chat_template(TALK, tools=tools, tokenize=False, add_generation_prompt=True)
    assert render(TALK, tools=tools, add_generation_prompt=True) == theirs


@pytest.mark.parametrize("tools", [None, [TOOL]])
@pytest.mark.parametrize("first", [0, 1])
def test_prompt_is_a_prefix_of_the_conversation_that_goes_on(first: int, tools: list[dict[str, Any]] | None) -> None:
    talk = TALK[first:]
    for index, message in enumerate(talk):
        if message["role"] == "assistant":
            prompt = render(talk[:index], tools=tools, add_generation_prompt=True)
            assert render(talk[: index + 1], tools=tools).startswith(prompt)


def test_prompt_and_answer_tokenize_apart_as_together(tokenizer: Tokenizer) -> None:
    whole = render(TALK)
    pieces = re.split(r"(?<=<\|assistant\|>)", whole)
    apart = [token for piece in pieces for token in tokenizer.encode(piece, add_special_tokens=False).ids]
    assert apart == tokenizer.encode(whole, add_special_tokens=False).ids


def test_tools_stand_in_the_system_turn() -> None:
    line = "- get_weather(city: string, day: string): Get the weather."
    assert render(TALK[:2], tools=[TOOL]).startswith(f"<|bos|><|system|>Be brief.\nTools:\n{line}<|end|>")
    assert render(TALK[1:2], tools=[TOOL]).startswith(f"<|bos|><|system|>Tools:\n{line}<|end|><|user|>")


def test_developer_is_system() -> None:
    assert render([{"role": "developer", "content": "x"}]) == render([{"role": "system", "content": "x"}])


@pytest.mark.parametrize(("name", "rows"), [("support.jsonl", 24), ("support_valid.jsonl", 8)])
def test_samples_are_chats_that_end_with_an_answer(name: str, rows: int) -> None:
    lines = (SAMPLES / name).read_text().splitlines()
    assert len(lines) == rows
    assert all(json.loads(line)["messages"][-1]["role"] == "assistant" for line in lines)


def test_no_held_out_row_is_trained_on() -> None:
    trained = set((SAMPLES / "support.jsonl").read_text().splitlines())
    assert trained.isdisjoint((SAMPLES / "support_valid.jsonl").read_text().splitlines())
