"""Saving and resuming: callable checkpoints for the user, private snapshots for a run that has to go on elsewhere.

Both are published folders (blobs.artefacts): complete, or not there. A snapshot holds everything that a step depends
on and the TrainSpec does not give: the trained tensors, the optimizer's moments, the step, and which steps were
skipped. There is no random state to keep: the data order is a function of seed and step, and nothing else is drawn.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from tunery.blobs import artefacts
from tunery.errors import JobError
from tunery.training.reports import Artefact
from tunery.training.weights import Weights

_TENSORS_NAME = "state.safetensors"
_FACTS_NAME = "state.json"


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A run between two steps."""

    step: int
    """Optimizer steps done."""
    parameters: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]
    skipped_steps: tuple[int, ...]


def publish_checkpoint(output: Path, weights: Weights, *, step: int, base_sha256: str) -> Artefact:
    """Publish the weights under `output`/checkpoints. Raises JobError `training_diverged` when one is not finite."""
    for name, tensor in weights.parameters().items():
        if not torch.isfinite(tensor).all():
            raise JobError(f"{name} is not finite after step {step}", code="training_diverged")
    folder = output / "checkpoints" / f"step-{step:08d}"
    published = artefacts.publish(folder, weights.write, facts={"step": step, "base_sha256": base_sha256})
    return _describe(published, output)


def publish_snapshot(output: Path, snapshot: Snapshot) -> Artefact:
    """Publish under `output`/snapshots. Old ones stay: only who records them knows which are needed no more."""
    folder = output / "snapshots" / f"step-{snapshot.step:08d}"
    published = artefacts.publish(folder, lambda path: _write(path, snapshot), facts={"step": snapshot.step})
    return _describe(published, output)


def load_snapshot(folder: Path) -> Snapshot:
    """Read a snapshot after checking every byte. Raises artefacts.IncompleteArtefact."""
    artefacts.verify(folder)
    facts = json.loads((folder / _FACTS_NAME).read_bytes())
    tensors: dict[str, dict[str, Tensor]] = {"parameters": {}, "moments": {}}
    with safe_open(folder / _TENSORS_NAME, framework="pt", device="cpu") as file:
        for key in file.keys():  # noqa: SIM118 (not a dict)
            kind, _, name = key.partition("/")
            tensors[kind][name] = file.get_tensor(key)
    return Snapshot(
        step=facts["step"],
        parameters=tensors["parameters"],
        moments=tensors["moments"],
        skipped_steps=tuple(facts["skipped_steps"]),
    )


def restore(parameters: Mapping[str, Tensor], snapshot: Snapshot) -> None:
    """Set every parameter to the snapshot's value. Raises KeyError or RuntimeError when they do not match."""
    with torch.no_grad():
        for name, tensor in parameters.items():
            tensor.copy_(snapshot.parameters[name])


def _write(folder: Path, snapshot: Snapshot) -> None:
    tensors = {f"parameters/{name}": tensor for name, tensor in snapshot.parameters.items()}
    tensors |= {f"moments/{name}": tensor for name, tensor in snapshot.moments.items()}
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, folder / _TENSORS_NAME)
    facts = {"step": snapshot.step, "skipped_steps": list(snapshot.skipped_steps)}
    (folder / _FACTS_NAME).write_text(json.dumps(facts) + "\n")


def _describe(published: artefacts.Published, output: Path) -> Artefact:
    return Artefact(
        path=published.path.relative_to(output).as_posix(),
        sha256=published.sha256,
        file_bytes=published.file_bytes,
    )
