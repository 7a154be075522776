"""An engine that answers every request after a given number of steps."""

from collections.abc import Sequence

from tunery.types.sampling import FromEngine, Sampled, SampleRequest, Token


class ScriptedEngine:
    """One token each step; the last of `steps` ends the answer."""

    def __init__(self, *, steps: int) -> None:
        self._steps = steps
        self._done: dict[int, int] = {}

    @property
    def idle(self) -> bool:
        return not self._done

    def submit(self, request: SampleRequest) -> None:
        self._done[request.id] = 0

    def cancel(self, request_id: int) -> None:
        self._done.pop(request_id, None)

    def step(self) -> Sequence[FromEngine]:
        answers = []
        for request_id in list(self._done):
            self._done[request_id] += 1
            is_over = self._done[request_id] == self._steps
            answers.append(Sampled(request_id, [Token(1, -1.0)], "stop" if is_over else None))
            if is_over:
                del self._done[request_id]
        return answers
