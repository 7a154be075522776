"""The typed rows and the slow reading hold the same rules: what the one takes, the other finds nothing wrong with."""

import copy
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunery.data.formats import ChatRow, CompletionRow, Kind, kind_of
from tunery.data.rows import rule_problems, shape_problems

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
FULL: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "s", "name": "n"},
        {"role": "developer", "content": [{"type": "text", "text": "d"}]},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL], "weight": 0, "audio": None},
        {"role": "tool", "content": "7", "tool_call_id": "c1"},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": None},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}], "refusal": None, "weight": 1},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"x": 1}, "strict": None}}],
    "functions": [{"name": "g", "description": "d"}],
    "parallel_tool_calls": True,
}
VALUES = st.sampled_from(
    [None, True, False, 0, 1, 2, 1.0, "", "x", "a b", "user", "assistant", "tool", "text", "image_url", "function"]
) | st.sampled_from([[], {}, [1], {"x": 1}])


def paths(value: Any, steps: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [steps, *(path for key, item in value.items() for path in paths(item, (*steps, key)))]
    if isinstance(value, list):
        return [steps, *(path for index, item in enumerate(value) for path in paths(item, (*steps, index)))]
    return [steps]


PATHS = [path for path in paths(FULL) if path]


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """The full row with a few values replaced, removed or added."""
    row = copy.deepcopy(FULL)
    for _ in range(draw(st.integers(0, 2))):
        path = draw(st.sampled_from(PATHS))
        try:
            parent = row
            for step in path[:-1]:
                parent = parent[step]
            match draw(st.sampled_from(["replace", "remove", "add"])):
                case "replace":
                    parent[path[-1]] = draw(VALUES)
                case "remove":
                    del parent[path[-1]]
                case "add":
                    parent[draw(st.sampled_from(["name", "weight", "extra", "content", "refusal"]))] = draw(VALUES)
        except (KeyError, IndexError, TypeError):
            return row
    return row


def is_refused(row: dict[str, Any], kind: type) -> bool:
    """By the typed reading."""
    try:
        msgspec.json.decode(json.dumps(row), type=kind)
    except msgspec.ValidationError:
        return True
    return False


@settings(max_examples=600)
@given(row=mutated())
def test_chat_rows_are_judged_alike_by_both_readings(row: dict[str, Any]) -> None:
    found = list(shape_problems(row, line=1, kind="chat"))
    assert bool(found) == is_refused(row, ChatRow), found


@given(row=st.dictionaries(st.sampled_from(["prompt", "completion", "x"]), VALUES))
def test_completion_rows_are_judged_alike_by_both_readings(row: dict[str, Any]) -> None:
    found = list(shape_problems(row, line=1, kind="completion"))
    assert bool(found) == is_refused(row, CompletionRow), found


def test_the_full_row_has_no_problem() -> None:
    assert not list(shape_problems(FULL, line=1, kind="chat"))
    assert not list(rule_problems(FULL, line=1))


@given(row=mutated())
def test_pointers_lead_to_what_they_name(row: dict[str, Any]) -> None:
    for problem in [*shape_problems(row, line=1, kind="chat"), *rule_problems(row, line=1)]:
        value: Any = row
        for step in problem.pointer.split("/")[1:]:
            value = value[int(step)] if isinstance(value, list) else value[step]


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"messages": [{"role": "assistant", "content": ""}]}, "chat"),
        ({"messages": [{"role": "user", "content": ""}], "reference_answer": 4}, "reinforcement"),
        ({"messages": [{"role": "assistant", "content": ""}], "weight": 1}, "chat"),
        ({"messages": 3, "x": 1}, "chat"),
        ({"prompt": "a", "completion": "b"}, "completion"),
        ({"input": {"messages": []}, "preferred_output": [], "non_preferred_output": []}, "preference"),
        ({"input": {}, "preferred_completion": [], "non_preferred_completion": []}, "preference"),
        ({"prompt": "a"}, None),
        ({}, None),
    ],
)
def test_kind_of_row_is_told_by_its_keys(row: dict[str, Any], kind: Kind | None) -> None:
    assert kind_of(row) == kind
