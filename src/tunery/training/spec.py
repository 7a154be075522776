"""All that a run needs, nothing left to guess: written once when the job is prepared, used again by every resume."""

from typing import Literal

from msgspec import Struct

LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

Method = Literal["supervised"]
Schedule = Literal["linear", "cosine", "constant"]
Dtype = Literal["float32", "bfloat16"]


class LoraSpec(Struct, frozen=True, kw_only=True):
    """A low-rank adapter (Hu et al. 2021, arXiv 2106.09685): W + alpha / rank * B A on every target projection."""

    rank: int = 16
    alpha: float = 32.0
    targets: tuple[str, ...] = LORA_TARGETS


class OptimizerSpec(Struct, frozen=True, kw_only=True):
    """AdamW with gradient clipping and a schedule over optimizer steps."""

    learning_rate: float
    schedule: Schedule = "linear"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    grad_norm_max: float = 1.0


class TrainSpec(Struct, frozen=True, kw_only=True):
    """One job's run. Paths are absolute and local to the host; frozen numerics stay as they were when prepared.

    The data order is a pure function of (seed, epoch, position); the micro-batch split is a pure function of the
    batch and `micro_batch_tokens_max`, never of what else the host trains.
    """

    job_id: str
    method: Method
    base_path: str
    """Folder with config.json and *.safetensors."""
    base_sha256: str
    """Digest of the base's weights; written into the adapter's manifest."""
    init_adapter_path: str | None
    """PEFT folder of the adapter that a tuned model starts from; None starts at the base."""
    train_path: str
    """Token file, see data.tokens."""
    valid_path: str | None
    n_epochs: int
    batch_size: int
    """Examples per optimizer step; the last batch of an epoch may be smaller."""
    n_examples: int
    total_steps: int
    """n_epochs * ceil(n_examples / batch_size)."""
    lora: LoraSpec | None
    """None trains every weight of the base."""
    optimizer: OptimizerSpec
    seed: int
    device: str
    """A torch device string, such as cpu or cuda:0."""
    dtype: Dtype
    """Of the base's matrices; adapters, optimizer state, attention and loss are float32."""
    micro_batch_tokens_max: int
    """Padded tokens of one forward pass."""
    valid_interval_steps: int = 10
    """A sample of the validation rows is scored every so many steps, all of them at the end of each epoch."""
    valid_sample_rows: int = 8
    snapshot_seconds: float = 60.0
    """A private resume snapshot is written at the first step boundary after so many seconds."""
