"""Jobs that share forward passes on one base get, to the bit, what each gets alone."""

import random
from pathlib import Path

import msgspec
import pytest
import torch

from tests.training.runs import Run, finish, make_rows, make_spec, train, write_rows
from tunery.modeling.llama import CausalLM
from tunery.modeling.loading import load_model
from tunery.training.reports import Failed, Finished
from tunery.training.slots import Slot, advance_together, open_slot
from tunery.training.spec import LoraSpec, OptimizerSpec, TrainSpec

KINDS = (
    {"lora": LoraSpec(rank=4, alpha=8.0)},
    {"lora": LoraSpec(rank=16, alpha=32.0), "batch_size": 3, "micro_batch_tokens_max": 96},
    {"lora": LoraSpec(rank=5, alpha=5.0, targets=("v_proj", "up_proj")), "batch_size": 2},
)


@pytest.fixture(scope="module")
def specs(base_path: Path, tmp_path_factory: pytest.TempPathFactory) -> list[TrainSpec]:
    folder = tmp_path_factory.mktemp("data")
    specs = []
    for index, kind in enumerate(KINDS):
        path = write_rows(folder / f"{index}.safetensors", make_rows(7 + index, seed=40 + index))
        spec = make_spec(base_path, path, n_rows=7 + index, n_epochs=2, **kind)
        specs.append(msgspec.structs.replace(spec, seed=index, job_id=f"ftjob-{index}"))
    return specs


@pytest.fixture(scope="module")
def alone(specs: list[TrainSpec], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    return {spec.job_id: train(spec, tmp_path_factory.mktemp(spec.job_id)) for spec in specs}


@pytest.fixture(scope="module")
def base(base_path: Path) -> CausalLM:
    return load_model(base_path, dtype=torch.float32)


def open_on(base: CausalLM, spec: TrainSpec, output: Path) -> Slot:
    return open_slot(spec, base, output_path=output / spec.job_id, resume_path=None)


def drive(slots: dict[str, Slot], output: Path, *, chance: random.Random) -> dict[str, Run]:
    """Advance random subsets of the slots together until all are done."""
    runs = {job_id: Run(output / job_id, []) for job_id in slots}
    while running := [job_id for job_id, slot in slots.items() if not slot.done]:
        chosen = chance.sample(running, chance.randint(1, len(running)))
        for job_id, bodies in zip(chosen, advance_together([slots[job_id] for job_id in chosen]), strict=True):
            runs[job_id].bodies += bodies
    return runs


def assert_same(run: Run, expected: Run) -> None:
    assert run.losses == expected.losses
    (mine,), (wanted,) = run.of(Finished), expected.of(Finished)
    name = "adapter_model.safetensors"
    assert (run.output / mine.artefact.path / name).read_bytes() == (
        expected.output / wanted.artefact.path / name
    ).read_bytes()


@pytest.mark.parametrize("seed", range(3))
def test_random_groups_equal_each_job_alone(
    specs: list[TrainSpec], alone: dict[str, Run], base: CausalLM, tmp_path: Path, seed: int
) -> None:
    slots = {spec.job_id: open_on(base, spec, tmp_path) for spec in specs}
    runs = drive(slots, tmp_path, chance=random.Random(seed))
    for job_id, run in runs.items():
        assert_same(run, alone[job_id])


def test_groups_on_a_bfloat16_base_equal_each_job_alone(specs: list[TrainSpec], tmp_path: Path) -> None:
    rounded = [msgspec.structs.replace(spec, dtype="bfloat16", n_epochs=1, total_steps=2) for spec in specs]
    base = load_model(Path(specs[0].base_path), dtype=torch.bfloat16)
    runs = drive({spec.job_id: open_on(base, spec, tmp_path) for spec in rounded}, tmp_path, chance=random.Random(0))
    for spec in rounded:
        assert_same(runs[spec.job_id], train(spec, tmp_path / f"alone-{spec.job_id}"))


def test_a_job_that_leaves_midway_disturbs_no_neighbour(
    specs: list[TrainSpec], alone: dict[str, Run], base: CausalLM, tmp_path: Path
) -> None:
    slots = [open_on(base, spec, tmp_path) for spec in specs]
    bodies = [advance_together(slots) for _ in range(4)]
    slots[1].close()
    for index in (0, 2):
        run = finish(slots[index], tmp_path / specs[index].job_id)
        run.bodies = [body for step in bodies for body in step[index]] + run.bodies
        assert_same(run, alone[specs[index].job_id])


def test_a_job_that_diverges_disturbs_no_neighbour(
    specs: list[TrainSpec], alone: dict[str, Run], base: CausalLM, tmp_path: Path
) -> None:
    sick = msgspec.structs.replace(specs[1], optimizer=OptimizerSpec(learning_rate=float("inf")))
    slots = {spec.job_id: open_on(base, spec, tmp_path) for spec in (specs[0], sick, specs[2])}
    runs = drive(slots, tmp_path, chance=random.Random(1))
    assert isinstance(runs[sick.job_id].bodies[-1], Failed)
    for spec in (specs[0], specs[2]):
        assert_same(runs[spec.job_id], alone[spec.job_id])


def test_the_comparison_tells_another_batch_size_apart(
    specs: list[TrainSpec], alone: dict[str, Run], tmp_path: Path
) -> None:
    changed = msgspec.structs.replace(specs[0], batch_size=3, total_steps=6)
    run = train(changed, tmp_path)
    with pytest.raises(AssertionError):
        assert_same(run, alone[specs[0].job_id])
