"""Each family's folder and renderer, made once for all tests."""

from collections.abc import Callable
from pathlib import Path

import families
import pytest
from hypothesis import settings

from tunery.data.rendering import Renderer
from tunery.data.tokenizer import Tokenizer

# A slow machine is no failure, and a failing case is printed rather than kept in a folder.
settings.register_profile("patient", deadline=None, database=None)
settings.load_profile("patient")


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = families.write_family(name, tmp_path_factory.mktemp(name))
        return made[name]

    return folder


@pytest.fixture(scope="session")
def renderer_of(folder_of: Callable[[str], Path]) -> Callable[[str], Renderer]:
    made: dict[str, Renderer] = {}

    def renderer(name: str) -> Renderer:
        if name not in made:
            made[name] = Renderer(Tokenizer(folder_of(name)))
        return made[name]

    return renderer
