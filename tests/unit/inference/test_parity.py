"""Against transformers and peft on the same weights: the same greedy tokens, the same log-probabilities."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import LlamaForCausalLM

from tests.unit.inference.runs import VOCABULARY, Answer, draw_prompt, request, run
from tunery.inference.engine import Engine
from tunery.modeling.llama import CausalLM
from tunery.modeling.loading import load_model
from tunery.types.sampling import AdapterRef

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # raised inside peft
PROMPT_LENGTHS = (1, 3, 31, 32, 33, 63, 64, 65, 100, 128, 150, 200)


@pytest.fixture(scope="module")
def reference(base_folder: Path) -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(base_folder, dtype=torch.float32).eval()


def generate(model: torch.nn.Module, prompt: list[int], tokens: int) -> list[int]:
    whole = model.generate(
        input_ids=torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
        max_new_tokens=tokens,
        do_sample=False,
        pad_token_id=0,
    )
    return whole[0, len(prompt) :].tolist()


@torch.no_grad()
def score(model: torch.nn.Module, prompt: list[int], answer: Answer) -> torch.Tensor:
    """Log-probabilities of every token after each prefix of the answer, from one forward pass, T V."""
    logits = model(input_ids=torch.tensor([prompt + answer.ids])).logits[0]
    return torch.log_softmax(logits, dim=-1)[len(prompt) - 1 : -1]


def test_greedy_answers_equal_generate(base: CausalLM, reference: LlamaForCausalLM) -> None:
    prompts = {length: draw_prompt(length) for length in PROMPT_LENGTHS}
    answers = run(Engine(base), [request(length, prompt, max_tokens=40) for length, prompt in prompts.items()])
    for length, prompt in prompts.items():
        assert answers[length].ids == generate(reference, prompt, 40)


def test_greedy_answers_equal_generate_under_adapters(
    base: CausalLM, base_folder: Path, adapters: list[AdapterRef]
) -> None:
    """Twelve requests over three adapters and the base in one batch, against peft one adapter at a time."""
    requests = [
        request(i, draw_prompt(40 + 9 * i), adapter=[*adapters[:3], None][i % 4], max_tokens=30) for i in range(12)
    ]
    answers = run(Engine(base), requests)
    for ref in (*adapters[:3], None):
        model = LlamaForCausalLM.from_pretrained(base_folder, dtype=torch.float32)
        tuned = model if ref is None else PeftModel.from_pretrained(model, ref.path)
        for one in requests:
            if one.adapter == ref:
                assert answers[one.id].ids == generate(tuned.eval(), one.prompt, 30)


def test_logprobs_equal_a_full_forward_pass(
    base: CausalLM, base_folder: Path, reference: LlamaForCausalLM, adapters: list[AdapterRef]
) -> None:
    """At temperature 1.3 with a nucleus, since neither may reach the reported log-probabilities."""
    tuned = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(base_folder), adapters[1].path).eval()
    for ref, model in ((None, reference), (adapters[1], tuned)):
        prompt = draw_prompt(77)
        one = request(1, prompt, adapter=ref, max_tokens=90, temperature=1.3, top_p=0.9, top_logprobs=VOCABULARY)
        answer = run(Engine(base), [one])[1]
        expected = score(model, prompt, answer)
        for token, row in zip(answer.tokens, expected, strict=True):
            assert token.logprob == pytest.approx(float(row[token.token]), abs=1e-5)
            best = row.topk(20)
            assert [value for _, value in token.top] == pytest.approx(best.values.tolist(), abs=1e-5)


def test_parity_notices_a_wrong_scaling(base: CausalLM, base_folder: Path, adapters: list[AdapterRef]) -> None:
    """The mutant of the test above: the base's own forward pass is no match for the adapter's answer."""
    prompt = draw_prompt(77)
    answer = run(Engine(base), [request(1, prompt, adapter=adapters[1], max_tokens=20)])[1]
    expected = score(LlamaForCausalLM.from_pretrained(base_folder, dtype=torch.float32).eval(), prompt, answer)
    differences = [abs(token.logprob - float(row[token.token])) for token, row in zip(answer.tokens, expected)]
    assert max(differences) > 1e-2


def test_bfloat16_stays_close_to_float32(base: CausalLM, base_folder: Path, adapters: list[AdapterRef]) -> None:
    """Same first token's alternatives within bfloat16's resolution of the scores (8 bits of about 8)."""
    narrow = load_model(base_folder, dtype=torch.bfloat16)
    one = request(1, draw_prompt(90), adapter=adapters[0], max_tokens=1, top_logprobs=20)
    wide = run(Engine(base), [one])[1].tokens[0].top
    for cache_dtype in (torch.float32, torch.bfloat16):
        top = dict(run(Engine(narrow, cache_dtype=cache_dtype), [one])[1].tokens[0].top)
        shared = [token for token, _ in wide[:10] if token in top]
        assert len(shared) >= 8
        assert all(abs(top[token] - value) < 0.5 for token, value in wide[:10] if token in top)
