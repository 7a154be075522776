"""Chat templates come with a model and are programs: here they run in a sandbox, with the settings models expect.

The settings (trimmed blocks, loop controls, `raise_exception`, `strftime_now`, an unescaped `tojson`) are those of
transformers' `apply_chat_template`, for which templates are written. Beyond the sandbox a render has caps on its
output, on the items its `range` calls may yield, and on repeated sequences; a template that is meant to waste time
can still do so, which is why templates come from models that an operator has added, never from a request.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

OUTPUT_CHARS_MAX = 64 * 1024 * 1024
RANGE_ITEMS_MAX = 1_000_000
SEQUENCE_ITEMS_MAX = 1_000_000
EXPONENT_MAX = 64


class TemplateFailed(ValueError):
    """The template refused the conversation or is broken; the text is the template's own."""


class _GenerationTag(Extension):
    """`{% generation %}` marks what the model writes. Spans come from comparing renders, so it does nothing."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _PublicNamespace(Namespace):
    """A namespace without underscore names, which would reach into the interpreter."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, *rest = args
        for name, value in dict(*rest, **kwargs).items():
            _require_public(name)
            Namespace.__setitem__(self, name, value)

    def __new__(cls, *args: Any, **kwargs: Any) -> "_PublicNamespace":
        namespace = super().__new__(cls)
        Namespace.__init__(namespace)
        return namespace

    def __setitem__(self, name: str, value: Any) -> None:
        _require_public(name)
        super().__setitem__(name, value)


def _require_public(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a template may not set {name!r} on a namespace")


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" and (abs(right) > EXPONENT_MAX or abs(left) > SEQUENCE_ITEMS_MAX):
            raise SecurityError("a power in the template is too large")
        if operator == "*":
            for sequence, times in ((left, right), (right, left)):
                if isinstance(sequence, str | list | tuple) and isinstance(times, int):
                    _require_short(len(sequence) * times)
        return super().call_binop(context, operator, left, right)


def _require_short(items: int) -> None:
    if items > SEQUENCE_ITEMS_MAX:
        raise SecurityError(f"a sequence of {items} items in the template is too long")


class _RangeBudget:
    """The `range` of one render: all its calls together yield a bounded number of items."""

    def __init__(self) -> None:
        self._left = RANGE_ITEMS_MAX

    def range(self, *bounds: int) -> range:
        numbers = range(*bounds)
        self._left -= len(numbers)
        if self._left < 0:
            raise SecurityError("the template loops too often")
        return numbers


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _environment() -> _Sandbox:
    environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, loopcontrols])
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["namespace"] = _PublicNamespace
    return environment


class ChatTemplate:
    """One compiled template; rendering is stateless, so threads may share it."""

    def __init__(self, source: str) -> None:
        """Raises TemplateFailed when the source is not a template."""
        self.source = source
        try:
            self._template: Template = _environment().from_string(source)
        except TemplateError as error:
            raise TemplateFailed(f"the chat template does not compile: {error}") from error

    def render(self, variables: Mapping[str, Any], *, now: datetime) -> str:
        """The rendered text. Raises TemplateFailed for anything the template raises and for a cap it runs into."""
        pieces: list[str] = []
        chars = 0
        try:
            for piece in self._template.generate(
                **variables, strftime_now=now.strftime, range=_RangeBudget().range, documents=None
            ):
                chars += len(piece)
                if chars > OUTPUT_CHARS_MAX:
                    raise TemplateFailed(f"the chat template wrote more than {OUTPUT_CHARS_MAX} characters")
                pieces.append(piece)
        except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
            raise TemplateFailed(str(error)) from error
        except RecursionError as error:
            raise TemplateFailed("the conversation is nested too deeply") from error
        return "".join(pieces)
