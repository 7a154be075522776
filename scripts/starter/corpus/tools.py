"""Tool calls: pick the right tool of those in the system turn, fill its arguments, then answer from its result."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from corpus.voice import Ask, Conversation, Voice, turn
from corpus.words import ADJECTIVES, CITIES, DAYS, ITEMS, NAMES, NOUNS
from corpus.world import TOWNS


@dataclass(frozen=True)
class Use:
    """One use of a tool: what the user asks, the argument values in order, the result and the answer made from it."""

    question: str
    values: tuple[object, ...]
    result: dict[str, object]
    answer: str


@dataclass(frozen=True)
class Kind:
    """A family of tools: the names it goes by, what it says of itself, and per parameter its names and JSON type."""

    names: tuple[str, ...]
    descriptions: tuple[str, ...]
    parameters: tuple[tuple[tuple[str, ...], str], ...]
    use: Callable[[Voice], Use]


def use_weather(voice: Voice) -> Use:
    city = voice.pick(voice.pick((CITIES, TOWNS)))
    sky, degrees = voice.pick(("sunny", "rainy", "cloudy", "windy", "foggy", "snowy", "clear")), voice.number(0, 35)
    question = voice.say(
        (
            "What is the weather in {city}?",
            "How is the weather in {city}?",
            "Weather in {city}?",
            "Is it warm in {city}?",
            "Tell me the weather for {city}.",
            "How warm is it in {city}?",
            "Do I need a coat in {city}?",
            "Does it rain in {city}?",
        ),
        city=city,
    )
    return Use(question, (city,), {"sky": sky, "degrees": degrees}, f"It is {sky} in {city} with {degrees} degrees.")


def use_clock(voice: Voice) -> Use:
    city, time = voice.pick(CITIES), f"{voice.number(0, 23)}:{voice.number(10, 59)}"
    question = voice.say(
        (
            "What time is it in {city}?",
            "Tell me the time in {city}.",
            "How late is it in {city}?",
            "Time in {city}?",
            "What is the time in {city}?",
            "Which time is it now in {city}?",
        ),
        city=city,
    )
    return Use(question, (city,), {"time": time}, f"It is {time} in {city}.")


def use_calculator(voice: Voice) -> Use:
    left, right = voice.number(100, 9999), voice.number(100, 9999)
    sign = voice.pick("+-*")
    expression = f"{left} {sign} {right}"
    result = {"+": left + right, "-": left - right, "*": left * right}[sign]
    question = voice.say(
        (
            "What is {e}?",
            "Calculate {e}.",
            "Please compute {e}.",
            "How much is {e}?",
            "Work out {e}.",
            "Solve {e}.",
            "{e} = ?",
        ),
        e=expression,
    )
    return Use(question, (expression,), {"result": result}, f"{expression} = {result}.")


def use_message(voice: Voice) -> Use:
    name = voice.pick(NAMES)
    text = voice.pick(
        ("I am late", "See you on {d}", "The {n} is ready", "Happy birthday", "Please call me", "Dinner is ready",
         "I have the {n}",
         "The meeting is on {d}", "Bring the {n}", "You are {a}")
    ).format(d=voice.pick(DAYS), n=voice.pick(NOUNS), a=voice.pick(ADJECTIVES))  # fmt: skip
    question = voice.say(
        (
            "Tell {name}: {text}",
            "Send a message to {name}: {text}",
            "Write to {name}: {text}",
            "Message {name} that says: {text}",
            "Send {name} this: {text}",
            "Let {name} know: {text}",
        ),
        name=name,
        text=text,
    )
    return Use(question, (name, text), {"status": "sent"}, f"I sent the message to {name}.")


def use_price(voice: Voice) -> Use:
    item, price = voice.pick(ITEMS), voice.number(2, 250)
    question = voice.say(
        (
            "How much is the {item}?",
            "What does the {item} cost?",
            "Price of the {item}?",
            "Tell me the price of the {item}.",
            "What is the price of a {item}?",
            "How much do you want for the {item}?",
        ),
        item=item,
    )
    return Use(question, (item,), {"price": price}, f"The {item} costs {price} dollars.")


def use_stock(voice: Voice) -> Use:
    item, count = voice.pick(ITEMS), voice.number(0, 40)
    question = voice.say(
        (
            "Is the {item} in stock?",
            "Do you have the {item}?",
            "How many {item}s are in stock?",
            "Is there a {item} left?",
            "Check the stock for the {item}.",
            "Can I still get the {item}?",
        ),
        item=item,
    )
    answer = f"There are {count} {item}s in stock." if count else f"The {item} is sold out."
    return Use(question, (item,), {"count": count}, answer)


def use_timer(voice: Voice) -> Use:
    minutes = voice.number(2, 90)
    question = voice.say(
        (
            "Set a timer for {m} minutes.",
            "Start a timer of {m} minutes.",
            "Wake me in {m} minutes.",
            "Timer: {m} minutes",
            "Remind me in {m} minutes.",
            "I need a timer for {m} minutes.",
        ),
        m=minutes,
    )
    return Use(question, (minutes,), {"status": "started"}, f"The timer is set for {minutes} minutes.")


def use_order(voice: Voice) -> Use:
    number, status = (
        voice.number(1000, 9999),
        voice.pick(("shipped", "delivered", "packed", "delayed", "cancelled", "paid")),
    )
    question = voice.say(
        (
            "Where is my order {n}?",
            "What is the status of order {n}?",
            "Check order {n}.",
            "Has order {n} been sent?",
            "Status of my order {n}, please.",
            "Can you look up order {n}?",
        ),
        n=number,
    )
    return Use(question, (number,), {"status": status}, f"Order {number} is {status}.")


KINDS = (
    Kind(
        ("get_weather", "weather", "current_weather", "weather_report"),
        ("Get the weather.", "The weather in a city."),
        ((("city", "location", "place", "town"), "string"),),
        use_weather,
    ),
    Kind(
        ("get_time", "clock", "current_time"),
        ("Get the time.", "The time in a city."),
        ((("city", "place", "location"), "string"),),
        use_clock,
    ),
    Kind(
        ("calculate", "calculator", "compute"),
        ("Do a calculation.", "Compute large sums."),
        ((("expression", "formula", "input"), "string"),),
        use_calculator,
    ),
    Kind(
        ("send_message", "message", "send_text", "notify"),
        ("Send a message.", "Write to a person."),
        ((("to", "name", "recipient"), "string"), (("text", "message", "body"), "string")),
        use_message,
    ),
    Kind(
        ("get_price", "price", "lookup_price"),
        ("Get the price.", "The price of an item."),
        ((("item", "product", "article"), "string"),),
        use_price,
    ),
    Kind(
        ("check_stock", "stock", "inventory"),
        ("Check the stock.", "How many are left."),
        ((("item", "product", "article"), "string"),),
        use_stock,
    ),
    Kind(
        ("set_timer", "timer", "start_timer"),
        ("Set a timer.", "Start a timer."),
        ((("minutes", "duration", "time"), "integer"),),
        use_timer,
    ),
    Kind(
        ("get_order", "order_status", "lookup_order", "track_order"),
        ("Look up an order.", "The status of an order."),
        ((("order_id", "number", "id", "order"), "integer"),),
        use_order,
    ),
)


def declare(voice: Voice, kind: Kind) -> dict[str, Any]:
    """The tool as a chat completion request declares it, under names drawn from the family."""
    properties = {voice.pick(names): {"type": json_type} for names, json_type in kind.parameters}
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    name, description = voice.pick(kind.names), voice.pick(kind.descriptions)
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def converse_with_tools(voice: Voice, other: Ask, *, called: bool, stop_at_call: bool) -> Conversation:
    """A user with one to four tools at hand; without `called` the question needs none and is answered at once."""
    kinds = voice.sample(KINDS, voice.number(1, 4))
    tools = [declare(voice, kind) for kind in kinds]
    messages = []
    if voice.chance(0.4):
        messages.append(
            turn("system", voice.pick(("You are a helpful assistant.", "You help in a shop.", "Use the tools.")))
        )
    if not called:
        messages += [turn("user", other.question), turn("assistant", other.answer)]
        return Conversation("no tool needed", messages, tools)
    chosen = voice.number(0, len(kinds) - 1)
    use = kinds[chosen].use(voice)
    function = tools[chosen]["function"]
    arguments = json.dumps(dict(zip(function["parameters"]["properties"], use.values, strict=True)))
    call = {"id": "call_1", "type": "function", "function": {"name": function["name"], "arguments": arguments}}
    messages += [turn("user", use.question), {"role": "assistant", "content": None, "tool_calls": [call]}]
    if stop_at_call:
        return Conversation("tool call", messages, tools)
    messages.append({"role": "tool", "tool_call_id": "call_1", "content": json.dumps(use.result)})
    messages.append(turn("assistant", use.answer))
    return Conversation("tool answer", messages, tools)
