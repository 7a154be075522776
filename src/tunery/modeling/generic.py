"""Any decoder that transformers knows, behind the surface of the own blocks: slower, the same numbers within rounding.

The module that transformers builds is kept; three things are put into it. Its attention becomes the caller's `attend`
(through transformers' attention interface), every nn.Linear asks the adapters for their share, and rows are flat. So
training, grouping and the caches of inference need not know which kind of model they drive. What this cannot compute
exactly (sliding windows, recurrent layers, capped or scaled logits) is found by a probe at loading and refused.

Importing this module imports transformers, which costs 3.5 s; modeling.loading does so only for families without own
blocks.

Shapes: N flat rows, H query heads, G key and value heads, K head width, O and I features of a linear, D width.
"""

from collections.abc import Mapping
from copy import copy
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils import logging

from tunery.modeling.attention import Bucket, CausalAttention
from tunery.modeling.config import ModelConfig, UnsupportedModel
from tunery.modeling.llama import Attend, CausalLM, Lora

_names = (f"tunery_{number}" for number in count())
_REFUSED_OPTIONS = ("softcap", "sliding_window", "s_aux")
_PROBE_TOKENS = 16
_PROBE_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.02}


def load_model(folder: Path, *, dtype: torch.dtype, device: str | torch.device) -> CausalLM:
    """The frozen base in `folder`. Raises UnsupportedModel when it cannot be driven row by row."""
    logging.disable_progress_bar()
    network = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, local_files_only=True, trust_remote_code=False, use_safetensors=True
    )
    nn.Module.to(network, device)
    network.eval().requires_grad_(False)
    probe_N = torch.arange(2 * _PROBE_TOKENS, device=device) * 7 % network.config.get_text_config().vocab_size
    with torch.no_grad():
        expected = network(probe_N.view(2, _PROBE_TOKENS), use_cache=False).logits.flatten(0, 1).float()
        model = GenericLM(network)
        attend = CausalAttention([Bucket(2, _PROBE_TOKENS)])
        found = model.logits(model.hidden(probe_N, positions=attend.positions(device), attend=attend))
    if (found - expected).abs().max() > _PROBE_TOLERANCE[dtype] * expected.std():
        raise UnsupportedModel(f"model_type {network.config.model_type!r} does more than plain causal attention")
    return model


class GenericLM(CausalLM):
    """A network of transformers as a CausalLM. Of `config` the shapes hold; its switches say nothing here."""

    def __init__(self, network: PreTrainedModel) -> None:
        """Takes the network over: its attention and linears call back from now on."""
        self.config = _read_shapes(network)
        self._network = network
        self._names = {id(parameter): name for name, parameter in network.named_parameters()}
        self._callbacks = _Callbacks()
        self._linears = {
            path: module
            for path, module in network.named_modules()
            if isinstance(module, nn.Linear) and module is not network.get_output_embeddings()
        }
        for path, linear in self._linears.items():
            setattr(linear, "forward", partial(self._callbacks.apply_linear, path, linear))  # noqa: B010
        name = next(_names)
        ALL_ATTENTION_FUNCTIONS.register(name, self._callbacks.apply_attention)
        network.set_attn_implementation(name)
        self._take(dict(network.named_parameters()))

    @property
    def linear_shapes(self) -> dict[str, tuple[int, int]]:
        return {path: (module.out_features, module.in_features) for path, module in self._linears.items()}

    def with_weights(self, weights: Mapping[str, Tensor]) -> CausalLM:
        other = copy(self)
        other._take(weights)
        return other

    def hidden(self, tokens_R: Tensor, *, positions: Tensor, attend: Attend, lora: Lora | None = None) -> Tensor:
        """As CausalLM.hidden, for flat rows only."""
        inputs = {"input_ids": tokens_R[None], "position_ids": positions[None], "use_cache": False}
        self._callbacks.attend, self._callbacks.lora = attend, lora
        try:
            answer = functional_call(self._network.base_model, self._body, kwargs=inputs, tie_weights=False)
        finally:
            self._callbacks.attend = self._callbacks.lora = None
        return answer.last_hidden_state[0]

    def _take(self, weights: Mapping[str, Tensor]) -> None:
        prefix = f"{self._network.base_model_prefix}."
        self.weights = dict(weights)
        self._body = {n.removeprefix(prefix): tensor for n, tensor in self.weights.items() if n.startswith(prefix)}
        self._embed_VD = self.weights[self._names[id(self._network.get_input_embeddings().weight)]]
        self.head_weight = self.weights[self._names[id(self._network.get_output_embeddings().weight)]]


class _Callbacks:
    """What the network asks while a forward pass runs."""

    attend: Attend | None = None
    lora: Lora | None = None

    def apply_linear(self, path: str, linear: nn.Linear, x: Tensor) -> Tensor:
        if self.lora is None:
            return F.linear(x, linear.weight, linear.bias)
        return self.lora.linear(path, x, linear.weight, linear.bias)

    def apply_attention(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        *,
        scaling: float | None = None,
        **options: Any,
    ) -> tuple[Tensor, None]:
        """Called by transformers with 1 H N K and 1 G N K; answers 1 N H K."""
        refused = [name for name in _REFUSED_OPTIONS if options.get(name) is not None]
        layer = module.layer_idx
        if refused or self.attend is None or not isinstance(layer, int):
            raise UnsupportedModel(f"attention with {', '.join(refused) or 'no layer index'} is not supported")
        q_NHK, k_NGK, v_NGK = (x[0].transpose(0, 1) for x in (query, key, value))
        if scaling is not None:
            q_NHK = q_NHK.float() * (scaling * query.shape[-1] ** 0.5)
        out_NHK = self.attend(layer, q_NHK.float(), k_NGK.float(), v_NGK)
        return out_NHK.to(query.dtype)[None], None


def _read_shapes(network: PreTrainedModel) -> ModelConfig:
    text = network.config.get_text_config().to_dict()
    head = network.get_output_embeddings()
    if head is None or head.bias is not None:
        raise UnsupportedModel(f"model_type {text['model_type']!r} has no plain head")
    if "num_attention_heads" not in text or "max_position_embeddings" not in text:
        raise UnsupportedModel(f"model_type {text['model_type']!r} is not a decoder with attention in every layer")
    n_heads, width = text["num_attention_heads"], text["hidden_size"]
    return ModelConfig(
        family=text["model_type"],
        vocab_size=head.out_features,
        width=width,
        mlp_width=text.get("intermediate_size") or 4 * width,
        n_layers=text["num_hidden_layers"],
        n_heads=n_heads,
        n_kv_heads=text.get("num_key_value_heads") or n_heads,
        head_width=text.get("head_dim") or width // n_heads,
        positions_max=text["max_position_embeddings"],
        norm_epsilon=0.0,
        rope_theta=0.0,
        rope_scaling=None,
        qkv_bias=False,
        o_bias=False,
        mlp_bias=False,
        qk_norm=False,
        tied_embeddings=head.weight is network.get_input_embeddings().weight,
    )
