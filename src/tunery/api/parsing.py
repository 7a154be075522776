"""Request bodies and queries to typed values; a problem becomes one error that names the field.

Content types are not insisted on: SDKs send bodies without one, and a content type without a body.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.datastructures import QueryParams
from starlette.requests import Request

from tunery.errors import InvalidRequest

Model = TypeVar("Model", bound=BaseModel)
SHOWN_MAX = 100
BODY_BYTES_MAX = 32 * 1024 * 1024


async def body(request: Request, model: type[Model]) -> Model:
    """The JSON body as `model`. Raises InvalidRequest."""
    return validate(model, json_object(await raw_body(request)))


async def raw_body(request: Request) -> bytes:
    """The body, if it is of a size that JSON requests have. Raises InvalidRequest."""
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > BODY_BYTES_MAX:
            raise InvalidRequest(f"The request body is larger than {BODY_BYTES_MAX} bytes.")
    return bytes(received)


def json_object(data: bytes) -> dict[str, Any]:
    try:
        parsed = orjson.loads(data or b"{}")
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"We could not parse the JSON body of your request: {error}.") from None
    if not isinstance(parsed, dict):
        raise InvalidRequest("The JSON body of your request must be an object.")
    return parsed


def query(request: Request, model: type[Model]) -> Model:
    """The query string as `model`; `metadata[k]=v` becomes a mapping, `metadata=` and `metadata=null` mean none."""
    return validate(model, dict(_flat(request.query_params)) | _metadata(request.query_params))


def validate(model: type[Model], value: dict[str, Any]) -> Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise explain(error) from None


def explain(error: ValidationError) -> InvalidRequest:
    """The first problem in the wording of the recorded answers: what is wrong, then the field's name in quotes."""
    problem = _most_telling(error.errors(include_url=False))
    path = _path(problem["loc"])
    return InvalidRequest(_message(problem, path.rpartition(".")[2]), param=path or None)


def _most_telling(problems: Sequence[Any]) -> Any:
    """The first problem; of a union, which reports every branch, the one of the branch that was meant."""
    path = _path(problems[0]["loc"])
    branches = [each for each in problems if _path(each["loc"]).startswith(path)]
    not_auto = [each for each in branches if each["type"] != "literal_error" or "auto" not in str(each["ctx"])]
    of_right_type = [each for each in not_auto if not each["type"].endswith("_type")]
    return (of_right_type or not_auto or branches)[0]


def _path(location: tuple[int | str, ...]) -> str:
    """`a.b[0].c`, without the names that pydantic gives to the branches of a union."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part.isidentifier() and part not in _BRANCHES:
            path += f".{part}" if path else part
    return path


_BRANCHES = frozenset({"int", "float", "str", "bool", "list", "dict"})
_TYPES = {
    "string": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "list": "array",
    "dict": "object",
    "model": "object",
}


def _message(problem: Any, field: str) -> str:
    kind, context = problem["type"], problem.get("ctx") or {}
    value, number = _shown(problem["input"]), problem["input"]
    if kind == "missing":
        return f"'{field}' is a required property"
    if kind == "greater_than_equal":
        return f"{number} is less than the minimum of {_plain(context['ge'])} - '{field}'"
    if kind == "greater_than":
        return f"{number} is less than or equal to the minimum of {_plain(context['gt'])} - '{field}'"
    if kind == "less_than_equal":
        return f"{number} is greater than the maximum of {_plain(context['le'])} - '{field}'"
    if kind == "string_too_long":
        return f"{value} is too long, at most {context['max_length']} characters - '{field}'"
    if kind in ("string_too_short", "too_short"):
        return f"{value} is too short - '{field}'"
    if kind == "too_long":
        return f"{field} has {len(problem['input'])} items, at most {context['max_length']} - '{field}'"
    if kind == "literal_error":
        return f"{value} is not one of [{context['expected'].replace(' or ', ', ')}] - '{field}'"
    if kind == "value_error":
        return f"{context['error']} - '{field}'"
    for prefix, name in _TYPES.items():
        if kind.startswith(prefix):
            return f"{value} is not of type '{name}' - '{field}'"
    return f"{problem['msg']} - '{field}'"


def _shown(value: Any) -> str:
    """As Python writes it, like the recorded answers, but not endlessly."""
    written = repr(value)
    return written if len(written) <= SHOWN_MAX else f"{written[:SHOWN_MAX]}..."


def _plain(limit: float) -> str:
    return str(int(limit) if limit == int(limit) else limit)


def _flat(params: QueryParams) -> list[tuple[str, str]]:
    return [(key, value) for key, value in params.items() if "[" not in key and key != "metadata"]


def _metadata(params: QueryParams) -> dict[str, Any]:
    pairs = {
        key[len("metadata[") : -1]: value
        for key, value in params.multi_items()
        if key.startswith("metadata[") and key.endswith("]")
    }
    if pairs:
        return {"metadata": pairs}
    return {"metadata": "null"} if params.get("metadata") in ("", "null") else {}
