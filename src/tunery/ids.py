"""Identifiers in the shapes that clients know."""

import secrets
import string

_ALPHABET = string.ascii_letters + string.digits


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def job() -> str:
    return f"ftjob-{_random(24)}"


def event() -> str:
    return f"ftevent-{_random(24)}"


def checkpoint() -> str:
    return f"ftckpt_{_random(24)}"


def file() -> str:
    return f"file-{_random(22)}"


def upload() -> str:
    return f"upload_{secrets.token_hex(16)}"


def part() -> str:
    return f"part_{secrets.token_hex(16)}"


def permission() -> str:
    return f"cp_{_random(24)}"


def key() -> str:
    return f"key_{_random(16)}"


def runner() -> str:
    return f"runner_{_random(16)}"


def request() -> str:
    return f"req_{secrets.token_hex(16)}"


def completion() -> str:
    return f"chatcmpl-{_random(29)}"


def text_completion() -> str:
    return f"cmpl-{_random(29)}"


def response() -> str:
    return f"resp_{secrets.token_hex(24)}"


def output_message() -> str:
    return f"msg_{secrets.token_hex(24)}"


def model_suffix() -> str:
    """The last part of a tuned model's name."""
    return _random(8)
