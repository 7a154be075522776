"""Packed rows: no conversation sees its neighbour, and only what should be learnt weighs."""

import torch
from batches import collate, tokens_and_weights
from corpus.voice import Conversation, turn
from tokenizers import Tokenizer


def test_packed_conversations_do_not_see_each_other() -> None:
    batch = collate([[([1, 2, 3], [1.0] * 3), ([4, 5], [1.0] * 2)]], length=6)
    mask = batch.seen()[0, 0]
    assert mask[2].tolist() == [True, True, True, False, False, False]
    assert mask[4].tolist() == [False, False, False, True, True, False]
    assert batch.positions_RT[0].tolist() == [0, 1, 2, 0, 1, 0]


def test_first_token_of_a_neighbour_is_never_predicted() -> None:
    batch = collate([[([1, 2, 3], [1.0] * 3), ([4, 5], [1.0] * 2)]], length=6)
    assert torch.equal(batch.weights_RT, torch.tensor([[0.0, 1.0, 1.0, 0.0, 1.0, 0.0]]))


def test_answer_and_its_end_weigh_fully(tokenizer: Tokenizer) -> None:
    talk = Conversation("small talk", [turn("user", "Hi"), turn("assistant", "Hello!"), turn("user", "Hi")])
    tokens, weights = tokens_and_weights(tokenizer, talk)
    learnt = [token for token, weight in zip(tokens, weights, strict=True) if weight == 1.0]
    assert tokenizer.decode(learnt, skip_special_tokens=False) == "Hello!<|end|>"
