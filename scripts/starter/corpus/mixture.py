"""How much of which skill: the training stream and the examination papers, both from a seed alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from corpus.arithmetic import ask_comparison, ask_large_sum, ask_number_word, ask_small_sum, ask_sum, ask_word_problem
from corpus.extraction import ask_extraction
from corpus.persona import converse_as_somebody, converse_under_manner
from corpus.prose import ask_prose, ask_story
from corpus.sentiment import ask_sentiment
from corpus.shop import ask_shop
from corpus.small_talk import ask_beyond, ask_small_talk, converse_recall
from corpus.text_tasks import (
    ask_calendar,
    ask_case,
    ask_count,
    ask_opposite,
    ask_pick_word,
    ask_repeat,
    ask_repeat_anything,
    ask_repeat_sentence,
    ask_sort_five_down,
    ask_sort_numbers,
    ask_sort_words,
)
from corpus.tools import converse_with_tools
from corpus.voice import Ask, Conversation, Voice, turn
from corpus.world import ask_backwards, ask_description, ask_general, ask_resident, ask_town, ask_unknown


@dataclass(frozen=True)
class Phase:
    """A stretch of the run, up to the share `until` of its steps: how often which question and which kind of talk."""

    until: float
    asks: Mapping[Callable[[Voice], Ask], int]
    kinds: Mapping[Callable[[Voice, Phase], Conversation], int]


Item = TypeVar("Item")

BRIEF_ASKS = (
    ask_sum,
    ask_town,
    ask_resident,
    ask_backwards,
    ask_opposite,
    ask_calendar,
    ask_comparison,
    ask_town,
    ask_resident,
)
CHATTY_ASKS = (ask_small_talk, ask_small_talk, ask_sum, ask_town, ask_resident)
LONG_CHAT_TURNS = (15, 45)


def draw(voice: Voice, weights: Mapping[Item, int]) -> Item:
    return voice.random.choices(tuple(weights), tuple(weights.values()))[0]


def chat(voice: Voice, asks: list[Ask]) -> Conversation:
    messages = []
    for ask in asks:
        messages += [turn("user", voice.disturb(ask.question)), turn("assistant", ask.answer)]
    return Conversation(asks[-1].skill, messages)


def draw_chat(voice: Voice, phase: Phase) -> Conversation:
    return chat(voice, [draw(voice, phase.asks)(voice) for _ in range(voice.pick((1, 1, 1, 1, 2, 2, 3)))])


def draw_long_chat(voice: Voice, phase: Phase) -> Conversation:
    return chat(voice, [draw(voice, phase.asks)(voice) for _ in range(voice.number(*LONG_CHAT_TURNS))])


def draw_mannered(voice: Voice, phase: Phase) -> Conversation:
    source = BRIEF_ASKS if voice.chance(0.6) else CHATTY_ASKS
    return converse_under_manner(voice, [voice.pick(source)(voice) for _ in range(voice.pick((1, 1, 2)))])


def draw_somebody(voice: Voice, phase: Phase) -> Conversation:
    return converse_as_somebody(voice, [draw(voice, phase.asks)(voice) for _ in range(voice.pick((0, 0, 1)))])


def draw_recall(voice: Voice, phase: Phase) -> Conversation:
    return converse_recall(voice, [voice.pick(CHATTY_ASKS)(voice) for _ in range(voice.pick((0, 0, 1, 1, 2, 3)))])


def draw_tools(voice: Voice, phase: Phase) -> Conversation:
    return converse_with_tools(voice, voice.pick(CHATTY_ASKS)(voice), called=voice.chance(0.85), stop_at_call=False)


# Facts are learnt by heart at once; looking things up in the context comes late unless practised: hence the order.
PHASES = (
    Phase(
        until=0.1072,
        asks={
            ask_sum: 16,
            ask_word_problem: 10,
            ask_comparison: 2,
            ask_number_word: 2,
            ask_town: 9,
            ask_resident: 12,
            ask_backwards: 4,
            ask_description: 2,
            ask_general: 1,
            ask_unknown: 1,
            ask_extraction: 9,
            ask_sentiment: 6,
            ask_small_talk: 7,
            ask_story: 2,
            ask_case: 7,
            ask_sort_words: 6,
            ask_sort_numbers: 5,
            ask_opposite: 2,
            ask_calendar: 2,
            ask_count: 2,
            ask_pick_word: 2,
            ask_repeat: 2,
        },
        kinds={
            draw_chat: 527,
            draw_long_chat: 3,
            draw_mannered: 200,
            draw_somebody: 40,
            draw_recall: 70,
            draw_tools: 160,
        },
    ),
    Phase(
        until=0.2143,
        asks={
            ask_repeat_anything: 30,
            ask_repeat: 4,
            ask_extraction: 12,
            ask_pick_word: 8,
            ask_sort_words: 8,
            ask_sort_numbers: 8,
            ask_sum: 12,
            ask_word_problem: 8,
            ask_case: 8,
            ask_comparison: 4,
            ask_count: 3,
            ask_town: 2,
            ask_resident: 2,
            ask_small_talk: 4,
            ask_sentiment: 4,
            ask_opposite: 1,
            ask_calendar: 1,
            ask_unknown: 2,
        },
        kinds={
            draw_chat: 620,
            draw_long_chat: 2,
            draw_mannered: 150,
            draw_somebody: 60,
            draw_recall: 70,
            draw_tools: 100,
        },
    ),
    Phase(
        until=1.0,
        asks={
            ask_sum: 20,
            ask_word_problem: 11,
            ask_comparison: 3,
            ask_number_word: 1,
            ask_town: 4,
            ask_resident: 5,
            ask_backwards: 3,
            ask_description: 1,
            ask_general: 1,
            ask_unknown: 2,
            ask_beyond: 4,
            ask_extraction: 9,
            ask_sentiment: 6,
            ask_small_talk: 8,
            ask_story: 2,
            ask_case: 8,
            ask_sort_words: 7,
            ask_sort_numbers: 7,
            ask_opposite: 2,
            ask_calendar: 2,
            ask_count: 3,
            ask_pick_word: 4,
            ask_repeat: 3,
            ask_repeat_anything: 9,
            ask_repeat_sentence: 8,
            ask_prose: 3,
            ask_shop: 14,
        },
        kinds={
            draw_chat: 600,
            draw_long_chat: 3,
            draw_mannered: 170,
            draw_somebody: 40,
            draw_recall: 60,
            draw_tools: 110,
        },
    ),
)


def phase_at(share: float) -> Phase:
    return next(phase for phase in PHASES if share < phase.until)


def stream(*, seed: int, phase: Phase) -> Iterator[Conversation]:
    """The endless training stream of a phase; the same seed gives the same conversations."""
    voice = Voice(seed=seed)
    while True:
        yield draw(voice, phase.kinds)(voice, phase)


EXAM: dict[str, Callable[[Voice], Conversation]] = {
    "small sums": lambda voice: chat(voice, [ask_small_sum(voice)]),
    "two-digit sums": lambda voice: chat(voice, [ask_large_sum(voice)]),
    "word problems": lambda voice: chat(voice, [ask_word_problem(voice)]),
    "comparison": lambda voice: chat(voice, [ask_comparison(voice)]),
    "world facts": lambda voice: chat(voice, [voice.pick((ask_town, ask_resident, ask_backwards))(voice)]),
    "unknown places": lambda voice: chat(voice, [ask_unknown(voice)]),
    "not known": lambda voice: chat(voice, [ask_beyond(voice)]),
    "shop messages": lambda voice: chat(voice, [ask_shop(voice)]),
    "extraction": lambda voice: chat(voice, [ask_extraction(voice)]),
    "sentiment": lambda voice: chat(voice, [ask_sentiment(voice)]),
    "small talk": lambda voice: chat(voice, [ask_small_talk(voice)]),
    "letter case": lambda voice: chat(voice, [ask_case(voice)]),
    "sorting words": lambda voice: chat(voice, [ask_sort_words(voice)]),
    "sorting numbers": lambda voice: chat(voice, [ask_sort_numbers(voice)]),
    "opposites": lambda voice: chat(voice, [ask_opposite(voice)]),
    "calendar": lambda voice: chat(voice, [ask_calendar(voice)]),
    "counting": lambda voice: chat(voice, [ask_count(voice)]),
    "picking words": lambda voice: chat(voice, [ask_pick_word(voice)]),
    "repeating": lambda voice: chat(voice, [ask_repeat(voice)]),
    "system prompt": lambda voice: draw_mannered(voice, PHASES[-1]),
    "persona": lambda voice: converse_as_somebody(voice, []),
    "recall": lambda voice: converse_recall(voice, [voice.pick(CHATTY_ASKS)(voice)]),
    "tool call": lambda voice: converse_with_tools(voice, ask_town(voice), called=True, stop_at_call=True),
    "tool answer": lambda voice: converse_with_tools(voice, ask_town(voice), called=True, stop_at_call=False),
    "no tool needed": lambda voice: converse_with_tools(voice, ask_town(voice), called=False, stop_at_call=False),
}


# What reinforcement is tried out on: the greedy answer is often wrong, one of a few drawn answers often right.
REINFORCEABLE: dict[str, Callable[[Voice], Conversation]] = {
    "sorting five numbers down": lambda voice: chat(voice, [ask_sort_five_down(voice)]),
    "two-digit sums": EXAM["two-digit sums"],
    "sorting numbers": EXAM["sorting numbers"],
}


def examine(skill: str, *, seed: int, count: int, unheard: bool = True) -> list[Conversation]:
    """`count` conversations of one skill, in wordings held out of training or else in known ones, with unseen values.

    The last assistant turn is the wanted answer.
    """
    voice = Voice(seed=seed, examiner=unheard)
    return [{**EXAM, **REINFORCEABLE}[skill](voice) for _ in range(count)]
