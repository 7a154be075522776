"""What a folder of weights is to the planner, and that an odd one stops nobody."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.factories import NOW, add_job, add_project
from tests.fakes.base import POSITIONS, make_base
from tunery.errors import StartError
from tunery.runner.bases import inspect, inspect_all
from tunery.runner.bootstrap import forget_lost
from tunery.store import models
from tunery.store.database import Connection, Database


def write_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))


def test_facts_of_a_model(tmp_path: Path) -> None:
    facts = inspect(make_base(tmp_path / "tiny"), source="folder")
    assert facts.positions_max == POSITIONS
    content = (tmp_path / "tiny" / "model.safetensors").read_bytes()
    header_bytes = 8 + int.from_bytes(content[:8], "little")
    assert facts.file_bytes == len(content)
    assert facts.parameters == (len(content) - header_bytes) / 4, "float32 takes four bytes"


@pytest.mark.parametrize("name", ["n_positions", "n_ctx", "seq_length", "max_position_embeddings"])
def test_length_is_found_under_each_familys_name(tmp_path: Path, name: str) -> None:
    folder = make_base(tmp_path / "tiny")
    write_config(folder, **({"max_position_embeddings": None, "model_type": "other"} | {name: 77}))
    assert inspect(folder, source="folder").positions_max == 77


def test_length_that_a_known_family_leaves_out_is_its_default(tmp_path: Path) -> None:
    folder = make_base(tmp_path / "tiny")
    write_config(folder, max_position_embeddings=None)
    assert inspect(folder, source="folder").positions_max == 2048


def test_only_the_indexed_weights_count(tmp_path: Path) -> None:
    folder = make_base(tmp_path / "tiny")
    before = inspect(folder, source="folder")
    save_file({"spare": np.zeros(10, np.float32)}, folder / "consolidated.safetensors")
    assert inspect(folder, source="folder") == before
    index = {"weight_map": {"spare": "consolidated.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert inspect(folder, source="folder").parameters == 10


def break_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def break_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"git-lfs pointer")


def break_index(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text("[]")


def drop_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def drop_positions(folder: Path) -> None:
    write_config(folder, max_position_embeddings=None, model_type="other")


@pytest.mark.parametrize("harm", [break_config, break_weights, break_index, drop_weights, drop_positions])
def test_broken_folder_is_left_out_by_name_unless_it_is_needed(
    tmp_path: Path, harm: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(harm)
    make_base(tmp_path / "good")
    harm(make_base(tmp_path / "odd"))
    make_base(tmp_path / "no name")
    assert list(inspect_all(tmp_path, needed="good")) == ["good"]
    said = capsys.readouterr()
    assert str(tmp_path / "odd") in said.out + said.err
    assert str(tmp_path / "no name") in said.out + said.err
    with pytest.raises(StartError, match="odd holds no model that can be used"):
        inspect_all(tmp_path, needed="odd")


def test_bases_whose_folders_are_gone_are_forgotten_unless_jobs_name_them(database: Database, tmp_path: Path) -> None:
    folders = {name: tmp_path / name for name in ("here", "gone", "base")}

    def change(connection: Connection) -> None:
        add_job(connection, add_project(connection))  # on "base"
        for name, folder in folders.items():
            folder.mkdir()
            facts = {"source": "folder", "sha256": "0", "file_bytes": 1, "parameters": 1, "positions_max": 1}
            models.put_base(connection, name, folder=str(folder), created_at=NOW, **facts)
            models.want_engine(connection, name, at=NOW)
        for name in ("gone", "base"):
            shutil.rmtree(folders[name])
        forget_lost(connection)
        assert {row["id"] for row in models.all_bases(connection)} == {"here", "base"}
        assert {row["base_id"] for row in models.all_engines(connection)} == {"here", "base"}

    database.write_now(change)
