"""The host process with the real trainer and engine: `python -m tunery.host`, started by the runner."""

import ctypes
import gc
import sys
from pathlib import Path

import torch

from tunery.host.process import Arguments, Parts, parse, run
from tunery.inference.engine import Engine
from tunery.modeling.llama import CausalLM
from tunery.modeling.loading import load_model
from tunery.training.reports import Start
from tunery.training.slots import Slot, open_slot
from tunery.types.sampling import SampleRequest

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def load(arguments: Arguments) -> Parts:
    """The base in memory, with what its roles ask for on top."""
    torch.set_num_threads(arguments.threads)
    model = load_model(arguments.base, dtype=DTYPES[arguments.dtype], device=torch.device(arguments.device))

    def make_slot(start: Start) -> Slot:
        return open_slot(
            start.spec,
            model,
            output_path=Path(start.output_path),
            resume_path=Path(start.resume_path) if start.resume_path else None,
        )

    return Parts(
        make_slot=make_slot,
        engine=_warm_engine(model) if "serve" in arguments.roles else None,
        trim=trim,
    )


def _warm_engine(model: CausalLM) -> Engine:
    """An engine that has answered once, so that the first user does not pay for what libraries set up on first use."""
    engine = Engine(model)
    engine.submit(SampleRequest(id=0, prompt=[0, 0], adapter=None, max_tokens=2, seed=0))
    while not engine.idle:
        engine.step()
    return engine


def trim() -> None:
    """Hand freed memory back to the system: the allocator, tuned for steady steps, does not do it by itself."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


if __name__ == "__main__":
    run(parse(sys.argv[1:]), load)
