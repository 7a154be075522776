"""Problems in the recorded wording, each naming its field by path."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field
from starlette.requests import Request

from tunery.api import parsing
from tunery.errors import InvalidRequest
from tunery.types.lists import JobsQuery


class Inner(BaseModel):
    rate: Literal["auto"] | Annotated[float, Field(gt=0)] = "auto"
    count: Literal["auto"] | Annotated[int, Field(ge=1, le=50)] = "auto"


class Outer(BaseModel):
    name: Annotated[str, Field(min_length=1, max_length=5)]
    inner: Inner = Inner()
    list_of: Annotated[list[Inner], Field(min_length=1, max_length=2)] | None = None
    text_or_list: str | Annotated[list[str], Field(max_length=2)] = ""
    pairs: Annotated[dict[str, str], Field(max_length=1)] = {}
    share: Annotated[float, Field(ge=0, le=0.5)] = 0
    kind: Literal["a", "b"] = "a"


def refuse(**values: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as refused:
        parsing.validate(Outer, {"name": "x", **values})
    return refused.value


@pytest.mark.parametrize(
    ("values", "message", "param"),
    [
        ({"inner": {"count": 0}}, "0 is less than the minimum of 1 - 'count'", "inner.count"),
        ({"inner": {"count": 51}}, "51 is greater than the maximum of 50 - 'count'", "inner.count"),
        ({"inner": {"count": "many"}}, "'many' is not of type 'integer' - 'count'", "inner.count"),
        ({"inner": {"count": []}}, "[] is not of type 'integer' - 'count'", "inner.count"),
        ({"inner": {"rate": -1}}, "-1 is less than or equal to the minimum of 0 - 'rate'", "inner.rate"),
        ({"inner": 3}, "3 is not of type 'object' - 'inner'", "inner"),
        ({"list_of": [{}, {"count": 0}]}, "0 is less than the minimum of 1 - 'count'", "list_of[1].count"),
        ({"list_of": []}, "[] is too short - 'list_of'", "list_of"),
        ({"list_of": [{}] * 3}, "list_of has 3 items, at most 2 - 'list_of'", "list_of"),
        ({"text_or_list": ["a"] * 3}, "text_or_list has 3 items, at most 2 - 'text_or_list'", "text_or_list"),
        ({"text_or_list": 3}, "3 is not of type 'string' - 'text_or_list'", "text_or_list"),
        ({"pairs": {"a": "1", "b": "2"}}, "pairs has 2 items, at most 1 - 'pairs'", "pairs"),
        ({"pairs": {"a": 1}}, "1 is not of type 'string' - 'a'", "pairs.a"),
        ({"share": 0.6}, "0.6 is greater than the maximum of 0.5 - 'share'", "share"),
        ({"name": ""}, "'' is too short - 'name'", "name"),
        ({"name": "abcdef"}, "'abcdef' is too long, at most 5 characters - 'name'", "name"),
        ({"name": None}, "None is not of type 'string' - 'name'", "name"),
        ({"kind": "c"}, "'c' is not one of ['a', 'b'] - 'kind'", "kind"),
    ],
)
def test_problem_is_told_in_the_recorded_pattern(values: dict[str, Any], message: str, param: str) -> None:
    refused = refuse(**values)
    assert (refused.message, refused.param) == (message, param)


def test_missing_member_is_a_required_property() -> None:
    with pytest.raises(InvalidRequest, match="'name' is a required property"):
        parsing.validate(Outer, {})


def test_long_values_are_not_repeated_in_full() -> None:
    refused = refuse(name="x" * 10_000)
    assert len(refused.message) < 200


def test_first_of_several_problems_is_told() -> None:
    assert refuse(name="", kind="c").param == "name"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("metadata[a]=1&metadata[b]=", {"a": "1", "b": ""}),
        ("metadata%5Ba%5D=1", {"a": "1"}),
        ("metadata=null", "null"),
        ("metadata=", "null"),
        ("metadata[a]=1&metadata=null", {"a": "1"}),
        ("limit=5", None),
    ],
)
def test_metadata_filters_come_in_brackets(query: str, expected: Any) -> None:
    request = Request({"type": "http", "query_string": query.encode(), "headers": []})
    assert parsing.query(request, JobsQuery).metadata == expected
