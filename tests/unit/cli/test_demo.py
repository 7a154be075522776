import json
import os
import signal
from pathlib import Path

import pytest

from tunery.cli.child import unwound_by_signals
from tunery.cli.demo import TRAINING_FILE, VALIDATION_FILE, read_question


def test_question_is_asked_as_the_row_begins(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "Because."},
    ]
    (tmp_path / "rows.jsonl").write_text(json.dumps({"messages": messages}) + "\nnot read\n")
    question = read_question(tmp_path / "rows.jsonl")
    assert question.messages == messages[:2]
    assert (question.system, question.prompt, question.expected) == ("Be brief.", "Why?", "Because.")


def test_question_without_instructions(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]
    (tmp_path / "rows.jsonl").write_text(json.dumps({"messages": messages}))
    assert read_question(tmp_path / "rows.jsonl").system is None


def test_question_of_the_sample_is_not_trained_on() -> None:
    question = read_question(VALIDATION_FILE)
    trained = [json.loads(line)["messages"] for line in TRAINING_FILE.read_text().splitlines()]
    assert len(trained) >= 10
    assert all(messages[-2]["content"] != question.prompt for messages in trained)


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_first_signal_unwinds_and_later_ones_do_not(number: signal.Signals, raised: type[BaseException]) -> None:
    before = signal.getsignal(number)
    steps: list[str] = []

    def work() -> None:
        with unwound_by_signals():
            try:
                os.kill(os.getpid(), number)
                steps.append("not reached")
            finally:
                os.kill(os.getpid(), number)
                steps.append("cleaned up")

    with pytest.raises(raised):
        work()
    assert steps == ["cleaned up"]
    assert signal.getsignal(number) is before
