"""Makes the starter's scripts importable and loads the packaged model once for all of its tests."""

import sys
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, PreTrainedModel

from tunery.starter import FOLDER

SCRIPTS = Path(__file__).parents[2] / "scripts" / "starter"
sys.path.append(str(SCRIPTS))


@pytest.fixture(scope="session")
def starter() -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
