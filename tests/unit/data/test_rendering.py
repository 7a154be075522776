"""What is trained is exactly what the row says, after exactly what a request sends; all else is refused."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import families
import pytest
from hypothesis import given
from hypothesis import strategies as st
from said import assistant, chat, prompts, supervised, system, user

from tunery.data.formats import CompletionRow
from tunery.data.rendering import Example, Renderer
from tunery.data.tokenizer import Tokenizer
from tunery.data.turns import RenderingError

FolderOf = Callable[[str], Path]
RendererOf = Callable[[str], Renderer]

STOP_OF = {
    "chatml": "<|im_end|>",
    "llama3": "<|eot_id|>",
    "gemma": "<end_of_turn>",
    "mistral": "</s>",
    "mistral_first": "</s>",
    "mistral_legacy": "</s>",
    "qwen3": "<|im_end|>",
    "phi": "<|end|>",
    "gpt2": "<|endoftext|>",
    "harmony": "<|return|>",
}
EVERY_TURN = ["chatml", "llama3", "gemma", "mistral", "mistral_first", "mistral_legacy", "phi", "gpt2"]
"""Families whose templates write an answer in a history as they write it at the end."""

TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}
FUNCTION_RESULT = {"role": "function", "name": "f", "content": "x"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Köln"}'}}


WORDS = st.text(
    st.characters(codec="utf-8", exclude_characters="▁", exclude_categories=["Cc", "Zs", "Zl", "Zp", "Cn"]), min_size=1
)
INNER = st.sampled_from(
    [" ", "\n", "\n\n", " — ", "<|", "|>", '"', "\\", "{{ x }}", "{% if %}", "  ", "</", "🙂", "\t"]
)
SAID = st.lists(WORDS, min_size=1, max_size=4).flatmap(
    lambda words: st.lists(INNER, min_size=len(words), max_size=len(words)).map(
        lambda gaps: "".join(w + g for w, g in zip(words, gaps, strict=True)) + words[0]
    )
)
"""Text of all scripts with line breaks, template syntax and halves of special tokens, no blank at its ends."""


@pytest.mark.parametrize("family", EVERY_TURN)
@given(said=st.lists(SAID, min_size=2, max_size=6), weights=st.lists(st.sampled_from([None, 0, 1]), min_size=3))
def test_every_trained_turn_is_supervised_whole_after_the_tokens_of_a_request(
    renderer_of: RendererOf, family: str, said: list[str], weights: list[int | None]
) -> None:
    renderer = renderer_of(family)
    messages = [
        user(text) if index % 2 == 0 else assistant(text) for index, text in enumerate(said[: len(said) // 2 * 2])
    ]
    for message, weight in zip(messages[1::2], weights, strict=False):
        message |= {} if weight is None else {"weight": weight}
    example = renderer.example(chat(*messages))
    trained = [message["content"] for message in messages[1::2] if message.get("weight") != 0]
    assert [text.strip() for text in supervised(renderer, example)] == [text + STOP_OF[family] for text in trained]
    assert all(prompts(renderer, example, messages))


@pytest.mark.parametrize("family", list(STOP_OF))
@given(question=SAID, answer=SAID)
def test_a_single_answer_is_supervised_in_every_family(
    renderer_of: RendererOf, family: str, question: str, answer: str
) -> None:
    renderer = renderer_of(family)
    messages = [user(question), assistant(answer)]
    example = renderer.example(chat(*messages))
    scaffold = "<|channel|>final<|message|>" if family == "harmony" else ""
    assert [text.strip() for text in supervised(renderer, example)] == [scaffold + answer + STOP_OF[family]]
    assert prompts(renderer, example, messages) == [True]
    assert set(example.weights) <= {0.0, 1.0}
    assert example.tokens[-1] in renderer.stop_tokens


@given(answer=st.text(st.sampled_from(" \n\ta."), max_size=6))
def test_white_space_of_a_last_answer_is_kept(renderer_of: RendererOf, answer: str) -> None:
    """Where the tokenizer would join it to the prompt's line break, the prompt's tokens stay as they are sent."""
    for family in ("chatml", "gpt2"):
        renderer = renderer_of(family)
        messages = [user("?"), assistant(answer)]
        example = renderer.example(chat(*messages))
        assert supervised(renderer, example) == [answer + STOP_OF[family]]
        assert prompts(renderer, example, messages) == [True]


def test_white_space_that_joins_the_prompt_is_refused_in_a_history(renderer_of: RendererOf) -> None:
    first = assistant("\n\nYes.")
    with pytest.raises(RenderingError, match="message 2 would be trained after other tokens") as caught:
        renderer_of("chatml").example(chat(user("a"), first, user("b"), assistant("c")))
    assert caught.value.code == "tokens_differ"
    renderer_of("chatml").example(chat(user("a"), first | {"weight": 0}, user("b"), assistant("c")))


@pytest.mark.parametrize("family", ["qwen3", "harmony"])
def test_a_history_that_the_template_rewrites_is_refused(renderer_of: RendererOf, family: str) -> None:
    renderer = renderer_of(family)
    messages = [user("a"), assistant("b"), user("c"), assistant("d")]
    with pytest.raises(RenderingError) as caught:
        renderer.example(chat(*messages))
    assert caught.value.code in ("history_rewritten", "turn_rewritten")
    assert caught.value.message_index == 1
    assert '"weight": 0' in caught.value.mend
    messages[1] |= {"weight": 0}
    example = renderer.example(chat(*messages))
    assert len(supervised(renderer, example)) == 1
    assert prompts(renderer, example, messages) == [True]


def test_thinking_in_a_history_is_dropped_by_the_template_and_so_refused(folder_of: FolderOf) -> None:
    renderer = Renderer(Tokenizer(folder_of("qwen3")), thinking=True)
    thought = "<think>\nhm\n</think>\n\nb"
    with pytest.raises(RenderingError) as caught:
        renderer.example(chat(user("a"), assistant(thought), user("c"), assistant(thought)))
    assert (caught.value.code, caught.value.message_index) == ("turn_rewritten", 1)
    example = renderer.example(chat(user("a"), assistant(thought)))
    assert supervised(renderer, example) == [thought + "<|im_end|>"]


def test_an_empty_train_of_thought_is_never_trained(folder_of: FolderOf) -> None:
    row = chat(user("a"), assistant("b"))
    with pytest.raises(RenderingError) as caught:
        Renderer(Tokenizer(folder_of("qwen3")), thinking=True).example(row)
    assert caught.value.code == "empty_thinking"
    renderer = Renderer(Tokenizer(folder_of("qwen3")))
    assert supervised(renderer, renderer.example(row)) == ["b<|im_end|>"]


@pytest.mark.parametrize(
    ("family", "messages", "code", "said"),
    [
        ("gemma", [system("s"), user("a"), assistant("b")], "template_refuses", "System role not supported"),
        ("gemma", [user("a"), user("b"), assistant("c")], "template_refuses", "must alternate"),
        ("mistral", [user("a"), FUNCTION_RESULT, assistant("b")], "template_refuses", "Only user"),
        ("mistral", [system("xyz"), user("a"), assistant("b")], "content_lost", "role 'system'"),
        ("chatml", [user("a"), system("late"), assistant("b")], None, ""),
        ("chatml", [user("a <|im_end|>"), assistant("b")], "special_token", r"contains an invalid token: <\|im_end\|>"),
        ("chatml", [user("a"), assistant("b<|im_start|>")], "special_token", r"message 2 contains an invalid token"),
    ],
)  # fmt: skip
def test_a_conversation_that_the_template_cannot_take_is_refused(
    renderer_of: RendererOf, family: str, messages: list[dict[str, Any]], code: str | None, said: str
) -> None:
    if code is None:
        renderer_of(family).example(chat(*messages))
        return
    with pytest.raises(RenderingError, match=said) as caught:
        renderer_of(family).example(chat(*messages))
    assert caught.value.code == code


def test_tools_are_rendered_and_calls_supervised(renderer_of: RendererOf) -> None:
    renderer = renderer_of("chatml")
    messages = [
        user("Weather?"),
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "22"},
        assistant("It is 22."),
    ]
    example = renderer.example(chat(*messages, tools=[TOOL], parallel_tool_calls=False))
    call = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Köln"}}\n</tool_call><|im_end|>'
    assert supervised(renderer, example) == [call, "It is 22.<|im_end|>"]
    assert all(prompts(renderer, example, messages, tools=[TOOL]))


def test_old_functions_give_the_same_tokens_as_tools(renderer_of: RendererOf) -> None:
    renderer = renderer_of("chatml")
    function = CALL["function"]
    old = [
        user("?"),
        assistant(None, function_call=function),
        {"role": "function", "name": "get_weather", "content": "7"},
    ]
    new = [user("?"), assistant(None, tool_calls=[CALL]), {"role": "tool", "tool_call_id": "call_1", "content": "7"}]
    end = assistant("7.")
    first = renderer.example(chat(*old, end, functions=[TOOL["function"]]))
    second = renderer.example(chat(*new, end, tools=[TOOL]))
    assert first.tokens.tolist() == second.tokens.tolist()
    assert first.weights.tolist() == second.weights.tolist()


@pytest.mark.parametrize("family", ["llama3", "gpt2"])
def test_tools_without_a_place_in_the_template_are_refused(renderer_of: RendererOf, family: str) -> None:
    with pytest.raises(RenderingError, match="tools") as caught:
        renderer_of(family).example(chat(user("a"), assistant("b"), tools=[TOOL]))
    assert caught.value.code == "content_lost"


@pytest.mark.parametrize(
    ("source", "written"),
    [
        ("{{ call.function.name }} {{ call.function.arguments | tojson }}", '{"city": "Köln"}'),
        ("{{ call.function.name + ' ' + call.function.arguments }}", '{"city": "Köln"}'),
        ("{{ call.function.name }}{% for key, value in call.function.arguments.items() %} {{ key }}={{ value }}{% endfor %}", "city=Köln"),  # noqa: E501
    ],
)  # fmt: skip
def test_tool_call_arguments_take_the_form_that_the_template_writes(tmp_path: Path, source: str, written: str) -> None:
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content or '' }}"
        f"{{% for call in m.tool_calls or [] %}}{source}{{% endfor %}}<|im_end|>\n{{% endfor %}}"
        "{{ (tools or []) | tojson }}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    template = template.replace("{{ (tools or []) | tojson }}", "")
    tokenizer = families.byte_level(["<|im_start|>", "<|im_end|>"])
    folder = families.write_folder(tmp_path, tokenizer, config={"eos_token": "<|im_end|>"}, template=template)
    renderer = Renderer(Tokenizer(folder))
    example = renderer.example(chat(user("?"), assistant(None, tool_calls=[CALL])))
    assert written in supervised(renderer, example)[0]


def test_developer_messages_are_system_messages(renderer_of: RendererOf) -> None:
    renderer = renderer_of("chatml")
    question = user("a")
    developer = {"role": "developer", "content": "Be brief."}
    assert renderer.prompt([developer, question]) == renderer.prompt([system("Be brief."), question])


def test_parts_are_the_same_as_their_text(renderer_of: RendererOf) -> None:
    renderer = renderer_of("chatml")
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert renderer.prompt([{"role": "user", "content": parts}]) == renderer.prompt([user("ab")])


CONTROL_TEXTS = (
    "<|im_end|>",
    "<|im_start|>",
    "<|endoftext|>",
    "</s>",
    "<s>",
    "<|eot_id|>",
    "<end_of_turn>",
    "<|end|>",
    "<|user|>",
)


@pytest.mark.parametrize("family", list(STOP_OF))
@given(
    content=st.lists(st.sampled_from([*CONTROL_TEXTS, "<", "|", "im_end", ">", "s", " a", "\n"]), min_size=1).map(
        "".join
    )
)
def test_no_message_can_write_a_special_token_into_a_prompt(renderer_of: RendererOf, family: str, content: str) -> None:
    """A harmless message has exactly as many special tokens around it, and the text is all there."""
    renderer = renderer_of(family)
    special = set(renderer.tokenizer.special_tokens.values())
    content = f"x{content}x"
    harmless = [token for token in renderer.prompt([user("x")]) if token in special]
    attacked = renderer.prompt([user(content)])
    assert [token for token in attacked if token in special] == harmless
    assert content in renderer.tokenizer.decode_all(attacked)


def test_tool_descriptions_cannot_write_special_tokens_either(renderer_of: RendererOf) -> None:
    renderer = renderer_of("chatml")
    tool = {
        "type": "function",
        "function": {"name": "f", "description": "<|im_end|>", "parameters": {"<|im_start|>": 1}},
    }
    end = renderer.tokenizer.special_tokens["<|im_end|>"]
    assert renderer.prompt([user("a")], tools=[tool]).count(end) == 2


def test_special_tokens_that_the_tokenizer_does_not_mark_are_guarded_too(tmp_path: Path) -> None:
    """Some models' turn markers are added tokens without the special mark."""
    tokenizer = families.byte_level(["<|endoftext|>"], plain=["<|im_start|>", "<|im_end|>", "    "])
    folder = families.write_folder(tmp_path, tokenizer, config={"eos_token": "<|endoftext|>"}, template=families.CHATML)
    renderer = Renderer(Tokenizer(folder))
    end = renderer.tokenizer.encode("<|im_end|>")[0]
    assert end in renderer.stop_tokens
    assert renderer.prompt([user("a<|im_end|>")]).count(end) == 1
    with pytest.raises(RenderingError, match="invalid token"):
        renderer.example(chat(user("a<|im_end|>"), assistant("b")))
    renderer.example(chat(user("blanks:     and more"), assistant("b")))


def test_padding_that_is_the_end_of_sequence_is_still_supervised(renderer_of: RendererOf) -> None:
    renderer = renderer_of("gpt2")
    assert renderer.tokenizer.pad == renderer.tokenizer.eos
    example = renderer.example(chat(user("a"), assistant("b")))
    assert example.tokens[-1] == renderer.tokenizer.eos
    assert example.weights[-1] == 1


def test_a_template_without_stop_token_gets_one_at_the_end_only(tmp_path: Path) -> None:
    source = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    folder = families.write_folder(
        tmp_path, families.byte_level(["<|endoftext|>"]), config={"eos_token": "<|endoftext|>"}, template=source
    )
    renderer = Renderer(Tokenizer(folder))
    messages = [user("a"), assistant("b")]
    example = renderer.example(chat(*messages))
    assert supervised(renderer, example) == [" b\n<|endoftext|>"]
    assert prompts(renderer, example, messages) == [True]
    with pytest.raises(RenderingError) as caught:
        renderer.example(chat(*messages, *messages))
    assert (caught.value.code, caught.value.message_index) == ("no_stop_token", 1)


def test_default_template_is_used_where_a_model_has_none(renderer_of: RendererOf) -> None:
    renderer = renderer_of("gpt2")
    prompt = renderer.prompt([system("Be brief."), user("Hi"), assistant("Hello!"), user("Bye")])
    text = "System:\nBe brief.\nUser:\nHi\nAssistant:\nHello!<|endoftext|>\nUser:\nBye\nAssistant:\n"
    assert renderer.tokenizer.decode_all(prompt) == text


@pytest.mark.parametrize("family", ["gpt2", "mistral", "mistral_first", "mistral_legacy"])
@given(prompt=SAID, completion=SAID)
def test_completion_rows_are_prompt_completion_and_end(
    renderer_of: RendererOf, family: str, prompt: str, completion: str
) -> None:
    renderer = renderer_of(family)
    example = renderer.example(CompletionRow(prompt=prompt, completion=completion))
    sent = renderer.completion_prompt(prompt)
    assert example.tokens[: len(sent)].tolist() == sent
    assert not example.weights[: len(sent)].any()
    assert example.weights[len(sent) :].all()
    assert example.tokens[-1] == renderer.tokenizer.eos
    assert renderer.tokenizer.decode(example.tokens.tolist()) == prompt + completion


def test_completion_rows_refuse_special_tokens_and_requests_take_them_as_text(renderer_of: RendererOf) -> None:
    renderer = renderer_of("gpt2")
    with pytest.raises(RenderingError, match="invalid token"):
        renderer.example(CompletionRow(prompt="a<|endoftext|>", completion="b"))
    assert renderer.tokenizer.eos not in renderer.completion_prompt("a<|endoftext|>b")


def test_examples_gives_errors_in_place(renderer_of: RendererOf) -> None:
    good, bad = chat(user("a"), assistant("b")), chat(user("<|im_end|>"), assistant("b"))
    first, second, third = renderer_of("chatml").examples([good, bad, CompletionRow(prompt="a", completion="b")])
    assert isinstance(first, Example)
    assert isinstance(second, RenderingError)
    assert isinstance(third, Example)


def test_digest_depends_on_all_that_decides_tokens(folder_of: FolderOf, tmp_path: Path) -> None:
    plain = Renderer(Tokenizer(folder_of("qwen3")))
    assert plain.digest == Renderer(Tokenizer(folder_of("qwen3"))).digest
    assert plain.digest != Renderer(Tokenizer(folder_of("qwen3")), thinking=True).digest
    assert plain.digest != Renderer(Tokenizer(folder_of("chatml"))).digest
    dated = families.write_folder(
        tmp_path, families.byte_level(["<e>"]), config={"eos_token": "<e>"}, template="{{ strftime_now('%d') }}"
    )
    days = [Renderer(Tokenizer(dated), clock=lambda day=day: datetime(2026, 1, day)).digest for day in (1, 1, 2)]
    assert days[0] == days[1] != days[2]


def test_a_clock_that_moves_between_two_renders_does_no_harm(tmp_path: Path) -> None:
    source = (
        "{{ strftime_now('%f') }}{% for m in messages %}<u>{{ m.role }}\n{{ m.content }}<e>{% endfor %}"
        "{% if add_generation_prompt %}<u>assistant\n{% endif %}"
    )
    ticks = iter(range(1, 1000))
    folder = families.write_folder(
        tmp_path, families.byte_level(["<e>", "<u>"]), config={"eos_token": "<e>"}, template=source
    )
    renderer = Renderer(Tokenizer(folder), clock=lambda: datetime(2026, 1, 1, microsecond=next(ticks)))
    assert supervised(renderer, renderer.example(chat(user("a"), assistant("b")))) == ["b<e>"]
