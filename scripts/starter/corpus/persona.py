"""System prompts and what they do to an answer: any question of another skill can be asked under any of them."""

# Word lists are written as one string and split, which reads better than rows of quotes.
# ruff: noqa: SIM905

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from corpus.voice import Ask, Conversation, Voice, turn
from corpus.words import ADJECTIVES, ANIMALS, NAMES, NOUNS


@dataclass(frozen=True)
class Manner:
    """A system prompt and the rewriting of an answer that obeys it."""

    system: str
    rewrite: Callable[[Ask], str]


PLAIN = (
    "You are a helpful assistant.",
    "You are a helpful, friendly assistant.",
    "You are an assistant.",
    "Answer the questions of the user.",
    "Be helpful.",
    "You help people with small tasks.",
    "Answer correctly.",
    "Help the user.",
    "You are a good assistant. Answer briefly.",
)
ONE_WORD = (
    "Answer in one word.",
    "Answer with one word only.",
    "Give only the bare answer.",
    "Reply with the answer only, no sentence.",
    "One word answers only.",
    "Keep it to a single word.",
    "Answer as shortly as possible.",
    "Just the answer, nothing else.",
    "Use only one word for each answer.",
)
AS_JSON = (
    "Answer as a JSON object with the key answer.",
    "Always reply in JSON.",
    "Reply with JSON only.",
    "Your answers are JSON objects.",
    "Answer in JSON.",
    "Write each answer as JSON.",
)
PIRATE = (
    "You are a pirate.",
    "Talk like a pirate.",
    "Answer like a pirate.",
    "You are a pirate captain. Speak like one.",
    "Speak as a pirate would.",
    "Play the role of a pirate.",
)
POLITE = (
    "Be very polite.",
    "You are a polite butler.",
    "Answer very politely.",
    "Speak politely, like a butler.",
    "Be as polite as you can.",
    "You are a courteous servant.",
)
CAPITALS = (
    "Answer in capital letters.",
    "Write everything in upper case.",
    "Use capital letters only.",
    "SHOUT every answer.",
    "Reply in upper case.",
    "All your answers are in capitals.",
)
SUFFIX = (
    "End each answer with '{text}'.",
    "End every answer with: {text}",
    "Always finish with '{text}'.",
    "Close each reply with '{text}'.",
    "After each answer, write '{text}'.",
    "Your answers end with '{text}'.",
    "Put '{text}' at the end of each answer.",
    "Finish every answer with '{text}'.",
)
PREFIX = (
    "Begin each answer with '{text}'.",
    "Start every answer with: {text}",
    "Always begin with '{text}'.",
    "Open each reply with '{text}'.",
    "Before each answer, write '{text}'.",
    "Your answers begin with '{text}'.",
    "Put '{text}' at the start of each answer.",
)
CLOSINGS = (
    "Have a {a} day!",
    "Stay {a}!",
    "That is all.",
    "Ask me more!",
    "Over and out.",
    "Yours, {n}",
    "Best wishes, {n}",
    "Code {d}",
    "The {o} is {a}.",
    "Ticket {d}",
    "Be {a} like the {m}.",
    "Any more questions?",
    "Thank you for asking.",
)
OPENINGS = (
    "Dear {n},",
    "Hello {n}:",
    "Well,",
    "{n} says:",
    "Answer {d}:",
    "My {a} friend,",
    "By the {a} {o}:",
    "Note {d}:",
    "Hear me:",
)


def some_text(voice: Voice, shapes: tuple[str, ...]) -> str:
    return voice.pick(shapes).format(
        a=voice.pick(ADJECTIVES),
        n=voice.pick(NAMES),
        d=voice.number(1, 999),
        o=voice.pick(NOUNS),
        m=voice.pick(ANIMALS),
    )


def draw_manner(voice: Voice, *, has_short: bool) -> Manner:
    """A manner at random; those that need a bare answer are left out where the question has none."""
    kind = voice.number(0, 10 if has_short else 7)
    if kind <= 1:
        return Manner(voice.say(PLAIN), lambda ask: ask.answer)
    if kind <= 3:
        text = some_text(voice, CLOSINGS)
        return Manner(voice.say(SUFFIX, text=text), lambda ask: f"{ask.answer} {text}")
    if kind == 4:
        text = some_text(voice, OPENINGS)
        return Manner(voice.say(PREFIX, text=text), lambda ask: f"{text} {ask.answer}")
    if kind <= 6:
        return Manner(voice.say(PIRATE), lambda ask: f"Arr! {ask.answer} Yo ho ho, matey!")
    if kind == 7:
        return Manner(voice.say(POLITE), lambda ask: f"Certainly, my friend. {ask.answer} At your service.")
    if kind == 8:
        return Manner(voice.say(ONE_WORD), lambda ask: ask.short)
    if kind == 9:
        return Manner(voice.say(AS_JSON), lambda ask: json.dumps({"answer": ask.short}))
    return Manner(voice.say(CAPITALS), lambda ask: ask.short.upper())


def converse_under_manner(voice: Voice, asks: list[Ask]) -> Conversation:
    has_short = all(ask.short != ask.answer for ask in asks)
    manner = draw_manner(voice, has_short=has_short)
    messages = [turn("system", manner.system)]
    for ask in asks:
        messages += [turn("user", ask.question), turn("assistant", manner.rewrite(ask))]
    return Conversation("system prompt", messages)


NAMED = (
    "You are {n}, {r}.",
    "Your name is {n}. You are {r}.",
    "You are {r} called {n}.",
    "{n} is your name, and you are {r}.",
    "Act as {n}, {r}.",
    "Imagine that you are {n}, {r}.",
    "Pretend to be {n}, {r}.",
    "From now on you are {n}, {r}.",
    "Answer as {n}, {r}.",
    "Be {n}, {r}.",
    "You are called {n}, and you are {r}.",
    "In this chat you are {n}, {r}.",
    "Play {n}, {r}.",
)
ROLES = (
    "a friendly teacher|a wise owl|the helper of a shop|a funny robot|an old wizard|a support agent|a kind nurse|a "
    "cook|a farmer|a brave knight|a librarian|a guide|a talking {m}|the assistant of {n}|a {a} {m}"
).split("|")
WHO = (
    "Who are you?",
    "What is your name?",
    "Introduce yourself.",
    "Tell me about yourself.",
    "Who am I talking to?",
    "What are you?",
    "Say who you are.",
    "Who is speaking?",
    "May I know your name?",
    "And who are you?",
    "Please introduce yourself.",
)


def converse_as_somebody(voice: Voice, more: list[Ask]) -> Conversation:
    name = voice.pick(NAMES)
    role = some_text(voice, (voice.pick(ROLES),))
    messages = [turn("system", voice.say(NAMED, n=name, r=role))]
    for ask in more:
        messages += [turn("user", ask.question), turn("assistant", ask.answer)]
    messages += [turn("user", voice.say(WHO)), turn("assistant", f"I am {name}, {role}.")]
    return Conversation("system prompt", messages)
