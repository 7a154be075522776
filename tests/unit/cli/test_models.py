from collections.abc import Callable

from tests.fakes.api import Answer, connected, error
from tests.unit.cli.conftest import Ran

MODEL = {"id": "ft:base:org::x", "object": "model", "created": 1_700_000_000, "owned_by": "org"}


def test_list_is_a_table(tunery: Callable[..., Ran]) -> None:
    with connected({("GET", "/models"): Answer({"object": "list", "data": [MODEL]})}) as (api, _):
        ran = tunery("models", "list", "--base-url", api.url)
    assert [line.split() for line in ran.out.splitlines()] == [
        ["MODEL", "OWNER", "CREATED"],
        ["ft:base:org::x", "org", "2023-11-14"],
    ]


def test_get_shows_facts(tunery: Callable[..., Ran]) -> None:
    with connected({("GET", "/models/ft:base:org::x"): Answer(MODEL)}) as (api, _):
        ran = tunery("models", "get", "ft:base:org::x", "--base-url", api.url)
    assert ran.out.splitlines()[0].split() == ["model", "ft:base:org::x"]


def test_delete_base_model_is_refused(tunery: Callable[..., Ran]) -> None:
    refusal = error(400, "The model 'base' is a base model and cannot be deleted.", param="model")
    with connected({("DELETE", "/models/base"): refusal}) as (api, _):
        ran = tunery("models", "delete", "base", "--base-url", api.url)
    assert ran == Ran(1, "", "Error: The model 'base' is a base model and cannot be deleted.\n")


def test_delete_tuned_model(tunery: Callable[..., Ran]) -> None:
    gone = Answer({"id": "ft:base:org::x", "object": "model", "deleted": True})
    with connected({("DELETE", "/models/ft:base:org::x"): gone}) as (api, _):
        ran = tunery("models", "delete", "ft:base:org::x", "--base-url", api.url)
    assert ran == Ran(0, "", "Deleted ft:base:org::x.\n")
