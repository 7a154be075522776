"""What the parts of the client need of the connection they speak through."""

from contextlib import AbstractContextManager
from typing import Any, Protocol

import httpx


class Connection(Protocol):
    """Sends requests; `path` begins with a slash and is appended to the base URL."""

    def request(self, method: str, path: str, **options: Any) -> Any:
        """The answer's JSON."""
        ...

    def stream(self, method: str, path: str, **options: Any) -> AbstractContextManager[httpx.Response]:
        """The answer as it arrives."""
        ...


def given(**values: Any) -> dict[str, Any]:
    """The values that are not None: parameters that were left out are not sent."""
    return {name: value for name, value in values.items() if value is not None}
