"""Facts in a sentence to a JSON object with the keys that were asked for, in that order."""

# Word lists are written as one string and split, which reads better than rows of quotes.
# ruff: noqa: SIM905

from __future__ import annotations

import json

from corpus.voice import Ask, Voice
from corpus.words import CITIES, COLOURS, DAYS, ITEMS, JOBS, NAMES, article
from corpus.world import TOWNS

PEOPLE = (
    "{name} is {age} years old and lives in {city}. {name} works as {a_job}.",
    "{name}, {age}, {a_job} from {city}",
    "My name is {name}. I am {age} years old, I live in {city} and I am {a_job}.",
    "{name} from {city} is {a_job} and {age} years old.",
    "This is {name}, {a_job} of {age} years, who lives in {city}.",
    "In {city} there is {a_job} called {name}, who is {age}.",
    "Meet {name}. Age: {age}. Home: {city}. Work: {job}.",
    "At the age of {age}, {name} still works as {a_job} in {city}.",
)
ORDERS = (
    "{name} ordered {quantity} {color} {item}s for {price} dollars.",
    "Please send {quantity} {item}s in {color} to {name}. The price is {price} dollars.",
    "Order from {name}: {quantity} x {item}, {color}, {price} dollars",
    "I am {name} and I would like {quantity} {color} {item}s. I pay {price} dollars.",
    "{name} paid {price} dollars for {quantity} {item}s in {color}.",
    "For {price} dollars, {name} bought {quantity} {color} {item}s.",
    "{quantity} {color} {item}s were sold to {name} for {price} dollars.",
)
EVENTS = (
    "The {event} is on {day} at {hour} o'clock in {city}.",
    "{event} in {city}, {day}, {hour} o'clock",
    "On {day} at {hour} o'clock there is a {event} in {city}.",
    "We meet for the {event} in {city} on {day} at {hour} o'clock.",
    "Come to {city} on {day}! The {event} starts at {hour} o'clock.",
    "Reminder: {event}, {day} at {hour} o'clock, {city}.",
    "In {city}, the {event} begins on {day} at {hour} o'clock.",
)
GATHERINGS = "meeting concert party market lesson dinner game show workshop fair race lecture".split()
REQUESTS = (
    "Extract {keys} as JSON: {text}",
    "Extract {keys} from this text as JSON.\n{text}",
    "Give me {keys} as JSON. Text: {text}",
    "{text}\nReturn a JSON object with {keys}.",
    "Turn this into JSON with the keys {keys}: {text}",
    "Read the text and answer in JSON with {keys}: {text}",
    "JSON with {keys}, please: {text}",
    "{text}\nExtract {keys} as JSON.",
    "Find {keys} in this text and write JSON: {text}",
)


def facts_and_text(voice: Voice) -> tuple[dict[str, object], str]:
    city = voice.pick(voice.pick((CITIES, TOWNS)))
    kind = voice.number(0, 2)
    facts: dict[str, object]
    if kind == 0:
        facts = {"name": voice.pick(NAMES), "age": voice.number(18, 89), "city": city, "job": voice.pick(JOBS)}
        return facts, voice.say(PEOPLE, a_job=article(str(facts["job"])), **facts)
    if kind == 1:
        facts = {
            "name": voice.pick(NAMES),
            "quantity": voice.number(2, 20),
            "color": voice.pick(COLOURS),
            "item": voice.pick(ITEMS),
            "price": voice.number(5, 99),
        }
        return facts, voice.say(ORDERS, **facts)
    facts = {"event": voice.pick(GATHERINGS), "day": voice.pick(DAYS), "hour": voice.number(1, 12), "city": city}
    return facts, voice.say(EVENTS, **facts)


def list_keys(voice: Voice, keys: list[str]) -> str:
    if len(keys) == 1:
        return keys[0]
    return voice.pick((", ".join(keys), f"{', '.join(keys[:-1])} and {keys[-1]}"))


def ask_extraction(voice: Voice) -> Ask:
    facts, text = facts_and_text(voice)
    keys = voice.sample(list(facts), voice.number(1, len(facts)))
    answer = json.dumps({key: facts[key] for key in keys})
    return Ask("extraction", voice.ask(REQUESTS, keys=list_keys(voice, keys), text=text), answer, answer)
