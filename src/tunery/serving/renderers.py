"""Tokenizers and templates of the bases in use, read once for each version of their files."""

import asyncio
from pathlib import Path

from tunery.data.rendering import Renderer
from tunery.data.tokenizer import Tokenizer


class Renderers:
    """Renderers by the digest of the base they belong to."""

    def __init__(self) -> None:
        self._known: dict[str, Renderer] = {}

    async def get(self, sha256: str, *, folder: str) -> Renderer:
        known = self._known.get(sha256)
        if known is None:
            known = await asyncio.to_thread(load_renderer, Path(folder))
            self._known[sha256] = known
        return known


def load_renderer(folder: Path) -> Renderer:
    """The renderer of a base's folder; about 50 ms."""
    return Renderer(Tokenizer(folder))
