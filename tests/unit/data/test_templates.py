"""The sandbox gives templates what they are written for, and stops what they must not do."""

from datetime import datetime
from typing import Any

import pytest

from tunery.data.templates import ChatTemplate, TemplateFailed

NOW = datetime(2026, 3, 9, 12, 0)


def render(source: str, **variables: Any) -> str:
    return ChatTemplate(source).render(variables, now=NOW)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{% if true %}\nx\n{% endif %}\ny", "x\ny"),
        ("  {% if true %}x{% endif %}", "x"),
        ("{% for i in range(3) %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% endfor %}", "02"),
        ("{% for i in range(3) %}{% if i == 1 %}{% break %}{% endif %}{{ i }}{% endfor %}", "0"),
        ("{{ {'a': '<é>', 'b': [1, none]} | tojson }}", '{"a": "<é>", "b": [1, null]}'),
        ("{{ {'a': 1} | tojson(indent=2) }}", '{\n  "a": 1\n}'),
        ("{{ [1] | tojson(separators=(',', ':')) }}", "[1]"),
        ("{{ strftime_now('%d %b %Y') }}", "09 Mar 2026"),
        ("{% generation %}answer{% endgeneration %}!", "answer!"),
        ("{% set ns = namespace(a=0) %}{% for i in [1] %}{% set ns.a = i %}{% endfor %}{{ ns.a }}", "1"),
        ("{{ missing }}|{{ missing is defined }}", "|False"),
    ],
)  # fmt: skip
def test_render_has_the_settings_that_templates_expect(source: str, text: str) -> None:
    assert render(source) == text


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{{ raise_exception('Conversation roles must alternate') }}", "Conversation roles must alternate"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{% set ns = namespace() %}{% set ns.__class__ = 1 %}", "__class__"),
        ("{{ namespace(__x=1) }}", "__x"),
        ("{{ 'x' * 100000000 }}", "too long"),
        ("{{ 10 ** 1000000 }}", "too large"),
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "loops too often"),
        ("{{ messages[0].role + 'x' }}", "no element 0"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ none + 'x' }}", "NoneType"),
    ],
)
def test_render_fails_with_the_template_s_reason(source: str, said: str) -> None:
    with pytest.raises(TemplateFailed, match=said):
        render(source, messages=[])


def test_render_stops_endless_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunery.data.templates.OUTPUT_CHARS_MAX", 1000)
    with pytest.raises(TemplateFailed, match="more than 1000 characters"):
        render("{% for i in range(2000) %}x{% endfor %}")


def test_a_source_that_is_no_template_is_refused_at_once() -> None:
    with pytest.raises(TemplateFailed, match="does not compile"):
        ChatTemplate("{% for %}")
