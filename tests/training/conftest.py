"""One base and one training file for all tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.training.runs import Row, make_base, make_rows, make_spec, train, write_rows
from tunery.training.reports import Finished
from tunery.training.spec import OptimizerSpec


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    """Matrices this small are slower on two; it also keeps the bits the same on machines of any size."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def base_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that has learnt to count by one, so that learning to count by three takes its loss a long way down.

    On a random base losses barely move, and then a wrong trainer agrees with a right one.
    """
    folder = tmp_path_factory.mktemp("pretraining")
    rows = make_rows(128, seed=1, stride=1)
    spec = make_spec(
        make_base(folder / "random"),
        write_rows(folder / "train.safetensors", rows),
        n_rows=len(rows),
        n_epochs=1,
        lora=None,
        optimizer=OptimizerSpec(learning_rate=0.01),
    )
    (finished,) = train(spec, folder / "output").of(Finished)
    return folder / "output" / finished.artefact.path


@pytest.fixture(scope="session")
def rows() -> list[Row]:
    return make_rows(14, seed=3)


@pytest.fixture(scope="session")
def train_path(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "train.safetensors", rows)
