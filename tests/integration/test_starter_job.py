"""The real trainer and engine on the starter model: one server, one trained job, what users are promised of them."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from openai import OpenAI
from peft import PeftModel
from transformers import AutoModelForCausalLM

from tests.servers import Server
from tunery import starter
from tunery.data.rendering import Renderer
from tunery.data.tokenizer import Tokenizer

SEED = 5
QUESTION = [{"role": "user", "content": "The kettle I bought does not heat any more."}]
TREE_BYTES_MAX = 1300 * 2**20
WAIT_SECONDS_MAX = 240.0


@dataclass
class Trained:
    """A finished job on the packaged sample, with what was seen on the way."""

    server: Server
    client: OpenAI
    job: Any
    estimates: list[tuple[float, int]]
    ended_at: float
    answered: str
    """What the tuned model said in the moment after the job was seen to have succeeded."""

    @property
    def steps(self) -> list[dict[str, Any]]:
        """Data of the metrics events, oldest first."""
        events = list(self.client.fine_tuning.jobs.list_events(self.job.id, limit=100))
        return [dict(event.data) for event in reversed(events) if event.type == "metrics"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    server = Server(tmp_path_factory.mktemp("starter")).start()
    client = OpenAI(base_url=f"{server.url}/v1", api_key="none", _strict_response_validation=True)
    job, estimates = follow(client, create(client))
    ended_at = time.time()
    answered = ask(client, job.fine_tuned_model)
    yield Trained(server, client, job, estimates, ended_at, answered)
    client.close()
    server.stop()


def create(client: OpenAI, **parameters: Any) -> Any:
    """A job on the packaged sample with everything on auto."""
    files = [
        client.files.create(file=starter.SAMPLES / name, purpose="fine-tune").id
        for name in ("support.jsonl", "support_valid.jsonl")
    ]
    wanted = {"model": "tunery-starter", "suffix": "support", "seed": SEED} | parameters
    return client.fine_tuning.jobs.create(training_file=files[0], validation_file=files[1], **wanted)


def follow(client: OpenAI, job: Any) -> tuple[Any, list[tuple[float, int]]]:
    """The ended job and the estimates of its end as they were seen, each with the share of steps done then."""
    estimates: list[tuple[float, int]] = []
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while job.status not in ("succeeded", "failed", "cancelled"):
        assert time.monotonic() < deadline, f"the job is still {job.status}"
        time.sleep(0.05)
        job = client.fine_tuning.jobs.retrieve(job.id)
        if job.estimated_finish is not None:
            estimates.append((time.time(), job.estimated_finish))
    assert job.status == "succeeded", job.error
    return job, estimates


def ask(client: OpenAI, model: str, **parameters: Any) -> str:
    answer = client.chat.completions.create(
        model=model,
        messages=QUESTION,
        temperature=0,
        max_tokens=60,
        **parameters,  # type: ignore[arg-type]
    )
    return answer.choices[0].message.content or ""


def test_auto_resolves_to_four_epochs_of_batches_of_four(trained: Trained) -> None:
    numbers = trained.job.hyperparameters
    assert (numbers.n_epochs, numbers.batch_size) == (4, 4)
    assert [step["step"] for step in trained.steps] == list(range(1, 25))


def test_auto_quarters_the_training_loss(trained: Trained) -> None:
    losses = [step["train_loss"] for step in trained.steps]
    assert sum(losses[-6:]) / 6 <= sum(losses[:1]) / 4


def test_auto_lowers_held_out_loss(trained: Trained) -> None:
    held_out = [step["full_valid_loss"] for step in trained.steps if "full_valid_loss" in step]
    assert len(held_out) == 4
    assert held_out[-1] < held_out[0] < base_loss(starter.SAMPLES / "support_valid.jsonl")


def base_loss(path: Path) -> float:
    """Mean loss of the untuned starter on the supervised tokens of a file, by transformers."""
    model = AutoModelForCausalLM.from_pretrained(starter.FOLDER, dtype=torch.float32)
    renderer = Renderer(Tokenizer(starter.FOLDER))
    total, count = 0.0, 0
    for line in path.read_text().splitlines():
        messages = json.loads(line)["messages"]
        prompt = renderer.prompt(messages[:-1])
        answer = [*renderer.tokenizer.encode(messages[-1]["content"]), renderer.stop_tokens[0]]
        logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        total += torch.nn.functional.cross_entropy(logits, torch.tensor(answer), reduction="sum").item()
        count += len(answer)
    return total / count


def test_tuned_model_answers_differently_and_as_trained(trained: Trained) -> None:
    assert trained.answered != ask(trained.client, "tunery-starter")
    assert "Thank you for your question!" in trained.answered
    assert "Ticket:" in trained.answered


def test_checkpoints_answer(trained: Trained) -> None:
    checkpoints = list(trained.client.fine_tuning.jobs.checkpoints.list(trained.job.id))
    assert [each.step_number for each in checkpoints] == [24, 18, 12]
    assert checkpoints[0].fine_tuned_model_checkpoint == trained.job.fine_tuned_model
    answers = [ask(trained.client, each.fine_tuned_model_checkpoint) for each in checkpoints]
    assert answers[0] == trained.answered
    assert all(answers)


def test_estimated_finish_is_told_while_it_runs_and_only_then(trained: Trained) -> None:
    assert trained.estimates
    assert all(finish >= int(seen) - 1 for seen, finish in trained.estimates)
    assert trained.job.estimated_finish is None


def test_same_seed_gives_the_same_losses_bit_for_bit(trained: Trained) -> None:
    again, _ = follow(trained.client, create(trained.client))
    events = list(trained.client.fine_tuning.jobs.list_events(again.id, limit=100))
    losses = [dict(event.data)["train_loss"] for event in reversed(events) if event.type == "metrics"]
    assert losses == [step["train_loss"] for step in trained.steps]


def test_tuned_model_can_be_tuned_on(trained: Trained) -> None:
    parameters = {"model": trained.job.fine_tuned_model, "hyperparameters": {"n_epochs": 1}}
    job, _ = follow(trained.client, create(trained.client, **parameters))
    events = list(trained.client.fine_tuning.jobs.list_events(job.id, limit=100))
    first = next(dict(event.data) for event in reversed(events) if event.type == "metrics")
    assert job.model == trained.job.fine_tuned_model
    assert first["train_loss"] < trained.steps[0]["train_loss"] / 2


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_adapter_opens_in_peft_with_the_same_probabilities(trained: Trained) -> None:
    adapter = adapter_folder(trained)
    base = AutoModelForCausalLM.from_pretrained(starter.FOLDER, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, adapter)
    answer = trained.client.chat.completions.create(
        model=trained.job.fine_tuned_model,
        messages=QUESTION,
        temperature=0,
        max_tokens=12,
        logprobs=True,  # type: ignore[arg-type]
    )
    entries = answer.choices[0].logprobs.content  # type: ignore[union-attr]
    renderer = Renderer(Tokenizer(starter.FOLDER))
    tokens = renderer.prompt(QUESTION)
    assert entries is not None
    assert len(entries) >= 5
    for entry in entries:
        logprobs = torch.log_softmax(model(torch.tensor([tokens])).logits[0, -1], -1)
        likeliest = int(logprobs.argmax())
        assert renderer.tokenizer.decode([likeliest]) == entry.token
        assert logprobs[likeliest].item() == pytest.approx(entry.logprob, abs=1e-4)
        tokens.append(likeliest)


def adapter_folder(trained: Trained) -> Path:
    """The newest adapter that the job left in the data folder."""
    folders = (trained.server.data_dir / "blobs" / "jobs" / trained.job.id).glob("**/adapter_config.json")
    return max(folders, key=lambda path: path.stat().st_mtime).parent


def test_result_file_has_a_row_for_each_step(trained: Trained) -> None:
    text = trained.client.files.content(trained.job.result_files[0], extra_headers={"Accept": "text/csv"}).text
    lines = text.splitlines()
    assert lines[0].startswith("step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy")
    assert len(lines) == 25


def test_trained_tokens_follow_the_documented_formula(trained: Trained) -> None:
    tokenizer = Tokenizer(starter.FOLDER)
    rows = [json.loads(line) for line in (starter.SAMPLES / "support.jsonl").read_text().splitlines()]
    per_epoch = sum(
        1
        + sum(
            len(tokenizer.encode(each["content"])) + len(tokenizer.encode(each["role"])) + 3 for each in row["messages"]
        )
        for row in rows
    )
    assert trained.job.trained_tokens == 4 * per_epoch


def test_process_tree_stays_small(trained: Trained) -> None:
    tree = [process for part in trained.server.tree().values() for process in part]
    assert sum(process.memory_info().rss for process in tree) < TREE_BYTES_MAX
    torch_free = [process for part in ("supervisor", "api", "runner") for process in trained.server.tree()[part]]
    assert len(torch_free) == 3
    assert not any(
        "libtorch" in each.path for process in torch_free for each in psutil.Process(process.pid).memory_maps()
    )
