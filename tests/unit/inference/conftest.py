"""One tiny random base and adapters for it, published as training publishes them."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.unit.inference.runs import POSITIONS, VOCABULARY
from tunery.blobs.artefacts import publish
from tunery.modeling.llama import CausalLM
from tunery.modeling.loading import load_model
from tunery.modeling.lora import new_adapter, save_adapter
from tunery.training.spec import LORA_TARGETS
from tunery.types.sampling import AdapterRef

RANKS_AND_TARGETS = ((4, LORA_TARGETS), (16, LORA_TARGETS), (8, ("q_proj", "v_proj")), (3, ("gate_proj", "down_proj")))


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Matrices this small gain nothing from a second thread and wait for it where the machine is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights large enough that answers differ from prompt to prompt."""
    torch.manual_seed(11)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=True,
        eos_token_id=None,
        bos_token_id=None,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.15)
    folder = tmp_path_factory.mktemp("base")
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def base(base_folder: Path) -> CausalLM:
    return load_model(base_folder, dtype=torch.float32)


@pytest.fixture(scope="session")
def publish_adapter(base: CausalLM, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., AdapterRef]:
    """Publishes a random adapter of given rank, targets and seed; `fill` overwrites one tensor."""

    def make(
        *, seed: int, rank: int = 4, targets: Sequence[str] = LORA_TARGETS, fill: float | None = None
    ) -> AdapterRef:
        adapter = new_adapter(base.linear_shapes, rank=rank, alpha=2.0 * rank, targets=targets, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        for pair in adapter.pairs.values():
            pair.b.normal_(0.0, 0.2, generator=generator)
        if fill is not None:
            adapter.parameters()[-1].fill_(fill)
        folder = tmp_path_factory.mktemp("adapters") / f"adapter-{seed}"
        published = publish(folder, lambda empty: save_adapter(empty, adapter, base_name="base"), facts={})
        return AdapterRef(path=str(folder), sha256=published.sha256)

    return make


@pytest.fixture(scope="session")
def adapters(publish_adapter: Callable[..., AdapterRef]) -> list[AdapterRef]:
    """Four adapters of different ranks and targets."""
    return [publish_adapter(seed=i, rank=rank, targets=targets) for i, (rank, targets) in enumerate(RANKS_AND_TARGETS)]
