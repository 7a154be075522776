"""Training files for tests, and waiting for what becomes of them."""

import json
import time
from typing import Any

from openai import OpenAI
from openai.types import FileObject
from openai.types.fine_tuning import FineTuningJob

END_SECONDS_MAX = 60.0
ENDED = ("succeeded", "failed", "cancelled")


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {"messages": [{"role": "user", "content": f"Say {n}"}, {"role": "assistant", "content": f"It is {n}."}]}
        for n in range(count)
    ]


def jsonl(count: int = 12) -> bytes:
    """12 rows become 8 epochs of 3 steps when everything is left to `auto`."""
    return "".join(json.dumps(row) + "\n" for row in rows(count)).encode()


def upload(client: OpenAI, content: bytes | None = None) -> FileObject:
    return client.files.create(file=("train.jsonl", jsonl() if content is None else content), purpose="fine-tune")


def wait_for_end(client: OpenAI, job_id: str, *, seconds_max: float = END_SECONDS_MAX) -> FineTuningJob:
    """The job once it has ended, however it did."""
    return wait_for_status(client, job_id, *ENDED, seconds_max=seconds_max)


def wait_for_status(client: OpenAI, job_id: str, *statuses: str, seconds_max: float = END_SECONDS_MAX) -> FineTuningJob:
    deadline = time.monotonic() + seconds_max
    while True:
        job = client.fine_tuning.jobs.retrieve(job_id)
        if job.status in statuses:
            return job
        assert job.status not in ENDED, f"{job_id} ended as {job.status}: {job.error}"
        assert time.monotonic() < deadline, f"{job_id} is still {job.status}"
        time.sleep(0.03)
