"""Who asks, and what operations work on."""

from collections.abc import Mapping
from dataclasses import dataclass
from threading import Event

from tunery.blobs.disk import DiskBlobs
from tunery.serving.port import ChatEngine
from tunery.serving.renderers import Renderers
from tunery.store.database import Database
from tunery.store.models import organization_id
from tunery.store.schema import DEFAULT_PROJECT


@dataclass(frozen=True)
class Caller:
    """The tenant in whose name an operation runs; every row it reads or writes is its project's."""

    project_id: str
    organization_id: str


@dataclass(frozen=True)
class Context:
    """The parts that operations are handed."""

    database: Database
    blobs: DiskBlobs
    engine: ChatEngine
    renderers: Renderers
    organization: str
    """Slug in the names of tuned models."""
    default_model: str
    stopping: Event
    """Set when the server is asked to end, before requests in progress are waited for."""
    aliases: Mapping[str, str]
    """Other names of models, chosen by the operator."""

    def resolve(self, model: str) -> str:
        """The model that a name stands for."""
        return self.aliases.get(model, model)


def anonymous(context: Context) -> Caller:
    """The caller while no keys are in use: the default project."""
    return Caller(project_id=DEFAULT_PROJECT, organization_id=organization_id(context.organization))
