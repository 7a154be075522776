"""What a job trains: an adapter on the shared frozen base, or its own copy of every weight.

Both are float32 leaves by name, so optimizer, snapshots and the forward pass need not know which it is.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import save_file
from torch import Tensor

from tunery.modeling.llama import CausalLM
from tunery.modeling.loading import stored_dtypes
from tunery.modeling.lora import Adapter, load_adapter, new_adapter, save_adapter
from tunery.training.spec import TrainSpec


class Weights(Protocol):
    """The trained part of a model."""

    @property
    def model(self) -> CausalLM:
        """What a forward pass runs on."""

    @property
    def adapter(self) -> Adapter | None:
        """What the forward pass adds to `model`; None when `model` itself is trained."""

    def parameters(self) -> Mapping[str, Tensor]:
        """float32 leaves that require gradients, always in the same order."""

    def write(self, folder: Path) -> None:
        """Put a callable model into the existing `folder`, in a format that other tools open."""


class AdapterWeights:
    """A LoRA adapter; written in PEFT's format."""

    def __init__(self, base: CausalLM, adapter: Adapter, *, base_name: str) -> None:
        self._base_name = base_name
        self._model = base
        self._adapter = adapter
        for tensor in adapter.parameters():
            tensor.requires_grad_()

    @property
    def model(self) -> CausalLM:
        return self._model

    @property
    def adapter(self) -> Adapter | None:
        return self._adapter

    def parameters(self) -> Mapping[str, Tensor]:
        pairs = self._adapter.pairs.items()
        return {f"{path}.{factor}": tensor for path, pair in pairs for factor, tensor in (("A", pair.a), ("B", pair.b))}

    def write(self, folder: Path) -> None:
        save_adapter(folder, self._adapter, base_name=self._base_name)


class FullWeights:
    """Every weight of the base as a float32 master; written as a Hugging Face folder in the base's own dtypes.

    With a bfloat16 base the forward pass sees rounded copies, gradients come back through the rounding into float32:
    so micro-batches add up without loss.
    """

    def __init__(self, base: CausalLM, *, base_folder: Path) -> None:
        """Raises ValueError when the weights in memory have other names than those in the folder."""
        self._base = base
        self._base_folder = base_folder
        self._dtypes = stored_dtypes(base_folder)
        renamed = base.weights.keys() - self._dtypes.keys()
        if renamed:
            raise ValueError(f"training every weight of this architecture is not supported: {min(renamed)} is renamed")
        self._masters = {
            name: weight.to(torch.float32, copy=True).requires_grad_() for name, weight in base.weights.items()
        }

    @property
    def model(self) -> CausalLM:
        return self._base.with_weights({name: master.to(self._base.dtype) for name, master in self._masters.items()})

    @property
    def adapter(self) -> Adapter | None:
        return None

    def parameters(self) -> Mapping[str, Tensor]:
        return self._masters

    def write(self, folder: Path) -> None:
        tensors = {
            name: master.detach().to("cpu", self._dtypes[name]).contiguous() for name, master in self._masters.items()
        }
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        for path in self._base_folder.iterdir():
            if path.is_file() and ".safetensors" not in path.name and path.name != "manifest.json":
                shutil.copyfile(path, folder / path.name)

    def merge(self, adapter: Adapter) -> None:
        """Begin at the base with `adapter` in it: W + scaling * B A, in float32."""
        with torch.no_grad():
            for path, pair in adapter.pairs.items():
                self._masters[f"{path}.weight"].addmm_(pair.b, pair.a, alpha=adapter.scaling)


def start_weights(spec: TrainSpec, base: CausalLM) -> Weights:
    """The weights before the first step. A tuned model's own adapter keeps its rank, alpha and targets.

    Raises ValueError when the adapter or the targets do not fit the base.
    """
    initial = None if spec.init_adapter_path is None else load_adapter(Path(spec.init_adapter_path), device=base.device)
    if spec.lora is None:
        full = FullWeights(base, base_folder=Path(spec.base_path))
        if initial is not None:
            full.merge(initial)
        return full
    if initial is None:
        initial = new_adapter(
            base.linear_shapes, rank=spec.lora.rank, alpha=spec.lora.alpha, targets=spec.lora.targets, seed=spec.seed
        ).to(base.device)
    _check_fit(initial, base)
    return AdapterWeights(base, initial, base_name=spec.base_path)


def _check_fit(adapter: Adapter, base: CausalLM) -> None:
    for path, pair in adapter.pairs.items():
        found = (pair.b.shape[0], pair.a.shape[1])
        if base.linear_shapes.get(path) != found:
            raise ValueError(f"the adapter's {path} is {found}, the base's is {base.linear_shapes.get(path)}")
