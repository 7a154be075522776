"""Models over the API: list, retrieve, delete."""

from urllib.parse import quote

from tunery.client.objects import Deleted, Model, Page
from tunery.client.port import Connection


class Models:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(self) -> Page[Model]:
        """Every model that can be used: base models first, then tuned ones and checkpoints."""
        return self._connection.request("GET", "/models")

    def retrieve(self, model: str) -> Model:
        return self._connection.request("GET", f"/models/{quote(model, safe=':')}")

    def delete(self, model: str) -> Deleted:
        return self._connection.request("DELETE", f"/models/{quote(model, safe=':')}")
