"""One server, reached over HTTP: requests out, JSON objects or failures back."""

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tunery import __version__
from tunery.client.chat import Chat
from tunery.client.failures import CutShort, TimedOut, Unreachable, api_failure
from tunery.client.files import Files
from tunery.client.jobs import Jobs
from tunery.client.models import Models

CONNECT_SECONDS_MAX = 5.0
ANSWER_SECONDS_MAX = 60.0


class Client:
    """A server's API. `base_url` is where its routes begin, such as http://127.0.0.1:8000/v1.

    Every method raises ApiFailure when the server refuses, and Unreachable, TimedOut or CutShort when no whole
    answer arrives.
    """

    def __init__(self, base_url: str, *, api_key: str | None = None) -> None:
        self.base_url = base_url.rstrip("/")
        url = httpx.URL(self.base_url)
        # Reading the certificates takes longer than most commands, so it is left out where there is nothing to verify;
        # and a proxy for the outside world is no way to this machine.
        self._http = httpx.Client(
            verify=url.scheme == "https",
            trust_env=not _is_loopback(url.host),
            timeout=httpx.Timeout(ANSWER_SECONDS_MAX, connect=CONNECT_SECONDS_MAX),
            headers={"user-agent": f"tunery/{__version__}"} | _authorization(api_key),
        )
        self.files = Files(self)
        self.jobs = Jobs(self)
        self.models = Models(self)
        self.chat = Chat(self)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def request(self, method: str, path: str, **options: Any) -> Any:
        """The answer's JSON. `options` are httpx's: json, params, files, data, timeout."""
        with self._failures():
            response = self._http.request(method, self.base_url + path, **options)
        if not response.is_success:
            raise api_failure(response)
        try:
            return response.json()
        except ValueError:
            raise api_failure(response) from None

    @contextmanager
    def stream(self, method: str, path: str, **options: Any) -> Iterator[httpx.Response]:
        """The answer as it arrives, to be read inside the block."""
        with self._failures(), self._http.stream(method, self.base_url + path, **options) as response:
            if not response.is_success:
                response.read()
                raise api_failure(response)
            yield response

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Turn what the transport raises into the client's own failures."""
        try:
            yield
        except httpx.ConnectTimeout:
            raise Unreachable(self.base_url, f"no connection within {CONNECT_SECONDS_MAX:.0f} s") from None
        except httpx.ConnectError as error:
            raise Unreachable(self.base_url, _reason(error)) from None
        except httpx.TimeoutException:
            raise TimedOut(f"{self.base_url} did not answer in time.") from None
        except httpx.TransportError as error:
            raise CutShort(f"The connection to {self.base_url} broke: {_reason(error)}.") from None


def _reason(error: httpx.TransportError) -> str:
    """The operating system's words without its error number: `connection refused`."""
    return str(error).rpartition("] ")[2].rstrip(".").lower() or type(error).__name__


def _authorization(api_key: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {api_key}"} if api_key else {}


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
