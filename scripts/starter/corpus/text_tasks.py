"""Work on the text itself: letter case, order, opposites, counting, first and last, days and months."""

from __future__ import annotations

import string

from corpus.prose import GENERAL_WORDS, VERBS, sentence
from corpus.voice import Ask, Voice
from corpus.words import (
    ADJECTIVES,
    ANIMALS,
    DAYS,
    FOODS,
    ITEMS,
    JOBS,
    MONTHS,
    NAMES,
    NOUNS,
    NUMBER_WORDS,
    OPPOSITES,
    PLURAL_ANIMALS,
    THINGS,
)
from corpus.world import RESIDENTS, TOWNS

CASE_PHRASINGS = {
    "upper": (
        "Write this in upper case: {text}",
        "Make this upper case: {text}",
        "Put '{text}' in capital letters.",
        "Change to capitals: {text}",
        "UPPERCASE this: {text}",
        "Turn this into upper case letters: {text}",
        "Write '{text}' in capitals, please.",
        "Can you write '{text}' in upper case?",
        "Please put this in upper case: {text}",
    ),
    "lower": (
        "Write this in lower case: {text}",
        "Make this lower case: {text}",
        "Put '{text}' in small letters.",
        "Change to lower case: {text}",
        "lowercase this: {text}",
        "Turn this into lower case letters: {text}",
        "Write '{text}' in small letters, please.",
        "Can you write '{text}' in lower case?",
        "Please put this in lower case: {text}",
    ),
    "title": (
        "Write this in title case: {text}",
        "Make this title case: {text}",
        "Put '{text}' in title case.",
        "Change to title case: {text}",
        "Start every word with a capital: {text}",
        "Turn this into a title: {text}",
        "Write '{text}' as a title, please.",
        "Can you write '{text}' in title case?",
        "Please put this in title case: {text}",
    ),
}


def phrase(voice: Voice) -> str:
    shapes = ((ADJECTIVES, NOUNS), (NOUNS,), (ADJECTIVES, ADJECTIVES, NOUNS), (ADJECTIVES, ANIMALS), (NOUNS, NOUNS))
    return " ".join(voice.pick(words) for words in voice.pick(shapes))


def ask_case(voice: Voice) -> Ask:
    kind = voice.pick(("upper", "lower", "title"))
    plain = " ".join(voice.pick(words) for words in voice.pick(((NOUNS,), (ADJECTIVES, NOUNS))))
    given, wanted = {
        "upper": (voice.pick((plain, plain, plain.title())), plain.upper()),
        "lower": (voice.pick((plain.upper(), plain.title())), plain),
        "title": (plain, plain.title()),
    }[kind]
    return Ask("letter case", voice.say(CASE_PHRASINGS[kind], text=given), wanted, wanted)


SORT_WORDS = (
    "Please sort these words: {items}",
    "Sort the words {items}.",
    "Please put {items} in alphabetical order.",
    "Sort by the alphabet: {items}",
    "Words to sort: {items}",
    "Sort these words: {items}",
    "Put these words in alphabetical order: {items}",
    "Sort alphabetically: {items}",
    "Alphabetical order, please: {items}",
    "Order these words from a to z: {items}",
    "Can you sort {items} by the alphabet?",
    "Arrange these words alphabetically: {items}",
    "Please sort the words {items}.",
)
SORT_UP = (
    "Sort in ascending order: {items}",
    "From smallest to largest: {items}",
    "Smallest first: {items}",
    "Sort {items} from the smallest to the largest.",
    "Please order these from small to large: {items}",
    "Please put {items} in order.",
    "Give me these numbers sorted from smallest to largest: {items}",
    "Sort these numbers: {items}",
    "Sort from small to large: {items}",
    "Put these numbers in order: {items}",
    "Sort the numbers {items}.",
    "Order these numbers from lowest to highest: {items}",
    "Can you sort {items}?",
    "Arrange in ascending order: {items}",
    "Please sort these from smallest to largest: {items}",
)
SORT_DOWN = (
    "From largest to smallest: {items}",
    "Largest first: {items}",
    "Please order these from large to small: {items}",
    "Give me these numbers sorted from largest to smallest: {items}",
    "Sort from large to small: {items}",
    "Sort these numbers in descending order: {items}",
    "Order these numbers from highest to lowest: {items}",
    "Put these numbers in reverse order of size: {items}",
    "Arrange in descending order: {items}",
    "Sort {items} from the largest to the smallest.",
    "Please sort these from largest to smallest: {items}",
)


def ask_sort_words(voice: Voice) -> Ask:
    words = voice.sample(NOUNS, voice.number(2, 4))
    wanted = ", ".join(sorted(words))
    return Ask("sorting words", voice.ask(SORT_WORDS, items=", ".join(words)), wanted, wanted)


def ask_sort_numbers(voice: Voice) -> Ask:
    top = voice.pick((9, 30, 99))
    numbers = voice.sample(range(top + 1), voice.number(3, 5))
    down = voice.chance(0.25)
    wanted = ", ".join(str(number) for number in sorted(numbers, reverse=down))
    items = ", ".join(str(number) for number in numbers)
    return Ask("sorting numbers", voice.say(SORT_DOWN if down else SORT_UP, items=items), wanted, wanted)


def ask_sort_five_down(voice: Voice) -> Ask:
    """Half known: five numbers and the rarer direction, often wrong and within reach of a few tries."""
    numbers = voice.sample(range(100), 5)
    wanted = ", ".join(str(number) for number in sorted(numbers, reverse=True))
    question = voice.say(SORT_DOWN, items=", ".join(str(number) for number in numbers))
    return Ask("sorting five numbers down", question, wanted, wanted)


def ask_opposite(voice: Voice) -> Ask:
    pair = voice.pick(OPPOSITES)
    question = voice.say(
        (
            "What is the opposite of {word}?",
            "Opposite of {word}?",
            "Give me the opposite of '{word}'.",
            "Which word means the opposite of {word}?",
            "What is the antonym of {word}?",
            "Tell me the opposite of {word}.",
        ),
        word=pair[0],
    )
    return Ask("opposites", question, pair[1], f"The opposite of {pair[0]} is {pair[1]}.")


def ask_calendar(voice: Voice) -> Ask:
    names, unit = voice.pick(((DAYS, "day"), (MONTHS, "month")))
    index = voice.number(0, len(names) - 1)
    word = voice.pick(("after", "before"))
    wanted = names[(index + (1 if word == "after" else -1)) % len(names)]
    question = voice.say(
        (
            "Which {unit} comes {word} {name}?",
            "What {unit} is {word} {name}?",
            "Name the {unit} {word} {name}.",
            "Tell me the {unit} that comes {word} {name}.",
            "What is the {unit} {word} {name}?",
        ),
        unit=unit,
        word=word,
        name=names[index],
    )
    return Ask("calendar", question, wanted, f"{wanted} comes {word} {names[index]}.")


def ask_count(voice: Voice) -> Ask:
    words = [voice.pick(NOUNS) for _ in range(voice.number(1, 7))]
    question = voice.say(
        (
            "How many words are there? {items}",
            "How many words are in the list {items}?",
            "How long is the list {items}?",
            "Count the items: {items}",
            "How many items are there: {items}",
            "How many words are in this list: {items}",
            "Count the words: {items}",
            "How many words do you see? {items}",
            "Count these: {items}",
            "How many items are in the list {items}?",
        ),
        items=", ".join(words),
    )
    short = str(len(words))
    return Ask("counting", question, short, f"There {'is' if len(words) == 1 else 'are'} {NUMBER_WORDS[len(words)]}.")


def ask_pick_word(voice: Voice) -> Ask:
    words = voice.sample(NOUNS, voice.number(3, 5))
    place = voice.pick(("first", "second", "third", "last"))
    wanted = {"first": words[0], "second": words[1], "third": words[2], "last": words[-1]}[place]
    question = voice.say(
        (
            "What is the {place} word of: {items}",
            "Give me the {place} word in this list: {items}",
            "Which word comes {place}? {items}",
            "Name the {place} word: {items}",
            "Tell me the {place} item of this list: {items}",
        ),
        place=place,
        items=", ".join(words),
    )
    return Ask("picking words", question, wanted, f"The {place} word is {wanted}.")


ENDINGS = ("ing", "ed", "er", "ly", "es", "ness", "ful", "less", "ment", "tion", "able", "ers")
WORD_LISTS = (GENERAL_WORDS, VERBS, NAMES, THINGS, FOODS, ADJECTIVES, JOBS, TOWNS, RESIDENTS, ITEMS, PLURAL_ANIMALS)
# Latin supplement and extended, Greek, Cyrillic, Arabic, Devanagari, dashes, arrows, kana, ideographs, emoji.
SCRIPT_STARTS = (0xC0, 0xE0, 0x100, 0x391, 0x3B1, 0x410, 0x430, 0x621, 0x905, 0x2010, 0x2190, 0x3041, 0x4E00, 0x1F600)
REPEAT_PHRASINGS = (
    "Say this: {t}",
    "Please repeat: {t}",
    "Please write this: {t}",
    "Write exactly this: {t}",
    "Can you say '{t}'?",
    "Say it after me: {t}",
    "{t}\nRepeat this.",
    "Please copy: {t}",
    "Repeat after me: {t}",
    "Say '{t}'.",
    "Repeat this: {t}",
    "Copy this text: {t}",
    "Echo: {t}",
    "Say exactly this: {t}",
    "Please say: {t}",
)


def ask_repeat(voice: Voice) -> Ask:
    text = phrase(voice) if voice.chance(0.5) else f"the {phrase(voice)} and the {phrase(voice)}"
    return Ask("repeating", voice.ask(REPEAT_PHRASINGS, t=text), text, text)


def ask_repeat_anything(voice: Voice) -> Ask:
    """Copying of arbitrary words and numbers: what teaches a small transformer to look things up in its context."""
    words = [some_token(voice) for _ in range(voice.number(2, 12))]
    text = voice.pick((" ", " ", ", ")).join(words)
    return Ask("repeating", voice.ask(REPEAT_PHRASINGS, t=text), text, text)


def ask_repeat_sentence(voice: Voice) -> Ask:
    text = sentence(voice)
    return Ask("repeating", voice.ask(REPEAT_PHRASINGS, t=text), text, text)


def some_token(voice: Voice) -> str:
    roll = voice.number(0, 9)
    if roll < 4:
        return voice.pick(GENERAL_WORDS)
    if roll < 6:
        return odd_word(voice) if voice.chance(0.7) else symbols(voice)
    if roll < 8:
        return voice.pick(NAMES)
    return str(voice.number(0, 99)) if roll < 9 else voice.pick(NOUNS).upper()


def odd_word(voice: Voice) -> str:
    """The head of one word with the tail of another: unseen words, so that no piece of the vocabulary stays unseen."""
    head, tail = voice.pick(voice.pick(WORD_LISTS)), voice.pick(voice.pick((GENERAL_WORDS, ENDINGS)))
    return head[: voice.number(2, len(head))] + tail[voice.number(0, len(tail) - 2) :]


def symbols(voice: Voice) -> str:
    """Punctuation and letters from anywhere: their bytes, too, must have been read once."""
    if voice.chance(0.6):
        return voice.pick(string.punctuation) * voice.number(1, 3) + voice.pick(("", str(voice.number(0, 99))))
    start = voice.pick(SCRIPT_STARTS)
    return "".join(chr(start + voice.number(0, 25)) for _ in range(voice.number(1, 3)))
