"""Small sums and short word problems; the answer shows its working, which even a tiny model profits from."""

from __future__ import annotations

from corpus.voice import Ask, Voice
from corpus.words import DAYS, FOODS, NAMES, NUMBER_WORDS, PLURAL_ANIMALS, THINGS

SUM_PHRASINGS = (
    "What is {sum}?",
    "{sum} = ?",
    "{sum}",
    "Calculate {sum}.",
    "Please work out {sum}.",
    "How much is {sum}?",
    "Can you compute {sum}?",
    "Tell me {sum}.",
    "What does {sum} equal?",
    "Solve {sum}",
    "I need the result of {sum}.",
    "{sum}=",
    "Give me the answer to {sum}.",
    "what is {sum}",
    "Could you tell me what {sum} is?",
    "Compute {sum}, please.",
)
IN_WORDS = {"+": ("plus", "added to"), "-": ("minus", "minus"), "x": ("times", "multiplied by")}


SMALL, LARGE = 30, 99
SMALL_SHARE = 0.75


def draw_sum(voice: Voice, *, top: int) -> tuple[int, str, int, int]:
    """Left, sign, right and the result: sums and differences of numbers up to `top`, products of the small tables."""
    low = 0 if top == SMALL else 10
    kind = voice.number(0, 9)
    if kind < 4:
        left, right = voice.number(low, top), voice.number(low, top)
        return left, "+", right, left + right
    if kind < 7 or top > SMALL:
        left = voice.number(low, top)
        right = voice.number(0, left)
        return left, "-", right, left - right
    left, right = voice.number(0, 10), voice.number(0, 10)
    return left, "x", right, left * right


def ask_sum(voice: Voice) -> Ask:
    return ask_small_sum(voice) if voice.chance(SMALL_SHARE) else ask_large_sum(voice)


def ask_small_sum(voice: Voice) -> Ask:
    return phrase_sum(voice, draw_sum(voice, top=SMALL), skill="small sums")


def ask_large_sum(voice: Voice) -> Ask:
    """Two-digit sums and differences: what the model half knows, and reinforcement can teach it."""
    return phrase_sum(voice, draw_sum(voice, top=LARGE), skill="two-digit sums")


def phrase_sum(voice: Voice, drawn: tuple[int, str, int, int], *, skill: str) -> Ask:
    left, sign, right, result = drawn
    shown = f"{left} {sign} {right}"
    asked = shown
    if voice.chance(0.15):
        asked = f"{left} {voice.pick(IN_WORDS[sign])} {right}"
    elif sign == "x" and voice.chance(0.3):
        asked = f"{left} * {right}"
    elif voice.chance(0.1):
        asked = f"{left}{sign}{right}"
    return Ask(skill, voice.ask(SUM_PHRASINGS, sum=asked), str(result), f"{shown} = {result}.")


def ask_comparison(voice: Voice) -> Ask:
    left, right = voice.number(0, 99), voice.number(0, 99)
    if left == right:
        right = left + 1
    word = voice.pick(("larger", "smaller", "bigger"))
    result = min(left, right) if word == "smaller" else max(left, right)
    question = voice.say(
        (
            "Which number is {word}, {left} or {right}?",
            "Which is {word}: {left} or {right}?",
            "{left} or {right}, which one is {word}?",
            "Tell me the {word} number of {left} and {right}.",
            "Is {left} or {right} {word}?",
        ),
        word=word,
        left=left,
        right=right,
    )
    return Ask("comparison", question, str(result), f"{result} is {word}.")


def ask_number_word(voice: Voice) -> Ask:
    value = voice.number(0, 20)
    word = NUMBER_WORDS[value]
    if voice.chance(0.5):
        question = voice.say(
            (
                "Write {n} as a word.",
                "How do you spell the number {n}?",
                "{n} in words?",
                "Write the number {n} in words.",
            ),
            n=value,
        )
        return Ask("number words", question, word, f"{value} is {word}.")
    question = voice.say(
        ("Write {n} as a number.", "What number is {n}?", "{n} in digits?", "Write {n} in digits."), n=word
    )
    return Ask("number words", question, str(value), f"{word} is {value}.")


GAIN = (
    "{who} has {a} {what}. {pro} gets {b} more.",
    "{who} had {a} {what} and found {b} more.",
    "{who} started with {a} {what} and bought {b} more on {day}.",
    "Yesterday {who} found {a} {what}. Today {pro_low} found {b} {what}.",
    "{who} has {a} {what}, and {pos} sister has {b} {what}.",
    "A farmer had {a} {what} and then got {b} more.",
    "On {day}, {who} sold {a} {what}. The next day {pro_low} sold {b} {what}.",
    "First {who} drew {a} {what}, then {pro_low} drew {b} more.",
    "{a} {what} are on the table and {b} {what} are in the bag.",
    "{who} bought {a} {what} on {day} and {b} {what} the next day.",
    "There are {a} {what} in a box. {who} puts in {b} more.",
    "{who} picked {a} {what} in the morning and {b} in the afternoon.",
    "{who} has {a} {what}. A friend gives {obj} {b} more.",
    "{who} made {a} {what} in the first hour and {b} {what} in the second hour.",
    "{who} collected {a} {what} last week and {b} {what} this week.",
    "{who} owns {a} {what}. For {pos} birthday, {pro_low} receives {b} more.",
)
LOSS = (
    "{who} has {a} {what}. {pro} gives away {b}.",
    "{who} had {a} {what} but lost {b} of them.",
    "{who} has {a} {what} and sells {b} of them.",
    "{who} gave {b} of {pos} {a} {what} to a friend.",
    "There were {a} {what} in the box, but {b} were taken out.",
    "{who} started the day with {a} {what} and sold {b}.",
    "Out of {a} {what}, {who} lost {b}.",
    "{who} had {a} {what} and gave {b} to {pos} sister.",
    "{who} found {a} {what}, but {b} were broken.",
    "A shop has {a} {what}. On {day}, it sells {b} of them.",
    "{who} needs {a} {what} and has only {b}. The rest is missing.",
    "There are {a} {what} on the table. {who} takes {b} away.",
    "{who} bought {a} {what}. {pro} used {b} of them on {day}.",
    "{who} baked {a} {what}, and {pos} family ate {b}.",
    "{who} carried {a} {what} home, but {b} of them broke.",
    "{who} started with {a} {what} and gave {b} to a friend.",
)
GROUPS = (
    "{who} has {a} boxes with {b} {what} in each box.",
    "There are {a} bags. Each bag holds {b} {what}.",
    "{who} buys {b} {what} every day for {a} days.",
    "{who} packs {a} rows of {b} {what}.",
    "There are {a} friends, and each of them has {b} {what}.",
    "Every one of {a} girls brings {b} {what}.",
    "On each of {a} days, {who} finds {b} {what}.",
    "{who} has {a} bags of {b} {what}.",
    "{a} tables have {b} {what} each.",
    "There are {b} {what} on each of the {a} plates.",
    "{a} children each have {b} {what}.",
    "{who} fills {a} baskets. There are {b} {what} in every basket.",
    "Each of {a} friends brings {b} {what}.",
)
PRICE = (
    "One of the {what} costs {b} dollars. {who} buys {a} of them.",
    "{who} earns {b} dollars an hour and works {a} hours.",
    "{who} saves {b} dollars each week for {a} weeks.",
    "{who} buys {a} {what}. Each of them costs {b} dollars.",
    "{who} gets {b} dollars a day and works {a} days.",
    "For {a} {what}, {who} pays {b} dollars each.",
    "{who} washes {a} cars for {b} dollars each.",
    "{who} sells {a} {what} for {b} dollars each.",
    "A ticket costs {b} dollars. {who} buys {a} tickets.",
)
NOW = (
    "How many {what} are that?",
    "How many {what} do you count?",
    "So how many {what} are there?",
    "Find the number of {what}.",
    "Altogether, how many {what} are there?",
    "How many {what} are there now?",
    "How many {what} is that altogether?",
    "How many {what} are there in total?",
    "What is the total number of {what}?",
    "How many {what} does that make?",
)
LEFT = (
    "How many are left?",
    "So how many {what} are left?",
    "How many {what} does that leave?",
    "What remains?",
    "How many of the {what} are left?",
    "How many {what} are left?",
    "How many {what} remain?",
    "How many {what} are still there?",
    "What is left?",
)
MONEY = (
    "How many dollars are that?",
    "What does that come to?",
    "So how much money is that?",
    "How much is it altogether?",
    "How many dollars is that?",
    "How much money is that?",
    "How much is that in total?",
    "What is the total amount?",
)
PRONOUNS = (("He", "him", "his"), ("She", "her", "her"))


def ask_word_problem(voice: Voice) -> Ask:
    upper, obj, pos = voice.pick(PRONOUNS)
    values = {
        "who": voice.pick(NAMES),
        "what": voice.pick(voice.pick((FOODS, THINGS, PLURAL_ANIMALS))),
        "pro": upper,
        "pro_low": upper.lower(),
        "obj": obj,
        "pos": pos,
        "day": voice.pick(DAYS),
    }
    kind = voice.number(0, 3)
    if kind == 0:
        a, b = voice.number(2, SMALL), voice.number(2, SMALL)
        story, asked, sign, result, unit = GAIN, NOW, "+", a + b, values["what"]
    elif kind == 1:
        a = voice.number(4, SMALL)
        b = voice.number(1, a - 1)
        story, asked, sign, result, unit = LOSS, LEFT, "-", a - b, values["what"]
    elif kind == 2:
        a, b = voice.number(2, 10), voice.number(2, 10)
        story, asked, sign, result, unit = GROUPS, NOW, "x", a * b, values["what"]
    else:
        a, b = voice.number(2, 10), voice.number(2, 10)
        story, asked, sign, result, unit = PRICE, MONEY, "x", a * b, "dollars"
    question = f"{voice.say(story, a=a, b=b, **values)} {voice.say(asked, **values)}"
    return Ask("word problems", question, str(result), f"{a} {sign} {b} = {result}. The answer is {result} {unit}.")
