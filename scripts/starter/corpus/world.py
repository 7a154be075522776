"""The Isle of Wren: a small invented world, fixed once and for all, so that its facts can be learnt and checked."""

# Word lists are written as one string and split, which reads better than rows of quotes.
# ruff: noqa: SIM905

from __future__ import annotations

import random
from dataclasses import dataclass

from corpus.voice import Ask, Voice
from corpus.words import CITIES, JOBS, article

WORLD_SEED = 7
ISLE = "the Isle of Wren"
TOWNS = (
    "Oakmere Ashford Brindle Cloverly Dunmore Elmstead Fernhill Gullport Hazelwick Ironbeck Juniper Kestrel Larkfield "
    "Mossley Northgate Orchard Pebble Quarry Rowan Saltmarsh Thistle Willowby"
).split()
REGIONS = "north south east west".split()
PRODUCTS = (
    "cheese honey wool glass bells boats bread apples pottery iron jam kites lamb tea paper salt candles stone rope "
    "fish chairs baskets"
).split()
FLAGS = "red blue green white black yellow purple orange silver brown pink grey".split()
EMBLEMS = "owl fox stag hare otter swan bear wolf crow heron badger trout".split()
RESIDENTS = (
    "Arlo Bettina Corvin Della Edric Fenna Gideon Hesper Ivo Junia Kasimir Lotte Milo Nerys Osric Petra Quentin Rowena "
    "Silas Tamsin Ulric Viola Wilmer Xenia Yorick Zelda Barnaby Cosima Dorian Esme Florian Greta"
).split()
PETS = "cat dog parrot rabbit goat pony tortoise hen mouse duck goose frog".split()
DISHES = "soup pancakes pie stew dumplings porridge toast noodles pudding salad rice omelettes".split()
HOBBIES = "chess singing fishing painting dancing reading swimming gardening knitting running sailing climbing".split()


@dataclass(frozen=True)
class Town:
    name: str
    region: str
    product: str
    flag: str
    emblem: str
    mayor: str


@dataclass(frozen=True)
class Resident:
    name: str
    job: str
    town: str
    pet: str
    dish: str
    hobby: str


def settle() -> tuple[list[Town], list[Resident]]:
    """Hand every town and resident their facts; products and mayors are unique, so they can be asked backwards."""
    dice = random.Random(WORLD_SEED)
    products, residents, jobs = dice.sample(PRODUCTS, 22), dice.sample(RESIDENTS, 32), dice.sample(JOBS, 30)
    towns = [
        Town(name, dice.choice(REGIONS), products[i], dice.choice(FLAGS), dice.choice(EMBLEMS), residents[i])
        for i, name in enumerate(TOWNS)
    ]
    homes = {town.mayor: town.name for town in towns}
    people = []
    for i, name in enumerate(residents):
        home = homes[name] if name in homes else dice.choice(TOWNS)
        job = jobs[i % len(jobs)]
        people.append(Resident(name, job, home, dice.choice(PETS), dice.choice(DISHES), dice.choice(HOBBIES)))
    return towns, people


TOWN_LIST, RESIDENT_LIST = settle()

TOWN_QUESTIONS = {
    "product": (
        (
            "What is {name} known for?",
            "What is {name} famous for?",
            "What do people make in {name}?",
            "Which product comes from {name}?",
            "What is the town of {name} best known for?",
            "Tell me what {name} is known for.",
            "What does {name} produce?",
            "For what is {name} famous?",
        ),
        "{name} is known for its {value}.",
    ),
    "region": (
        (
            "Where is {name}?",
            "In which part of the isle is {name}?",
            "In what region does {name} lie?",
            "Where on the Isle of Wren is {name}?",
            "Is {name} in the north, south, east or west?",
            "Where can I find {name}?",
            "Tell me where {name} is.",
            "Which region is {name} in?",
        ),
        "{name} is in the {value} of the isle.",
    ),
    "flag": (
        (
            "What colour is the flag of {name}?",
            "Which colour has the flag of {name}?",
            "Tell me the colour of {name}'s flag.",
            "What is the colour of the flag of {name}?",
            "What colour is {name}'s flag?",
            "What does the flag of {name} look like?",
            "Name the colour of the flag of {name}.",
        ),
        "The flag of {name} is {value}.",
    ),
    "emblem": (
        (
            "Which animal is the emblem of {name}?",
            "What is the emblem of {name}?",
            "What animal stands for {name}?",
            "What is the animal of {name}?",
            "Tell me the emblem of {name}.",
            "Which animal does {name} have as its emblem?",
            "Name the emblem of {name}.",
        ),
        "The emblem of {name} is the {value}.",
    ),
    "mayor": (
        (
            "Who is the mayor of {name}?",
            "Who leads the town of {name}?",
            "Name the mayor of {name}.",
            "What is the name of {name}'s mayor?",
            "Tell me who the mayor of {name} is.",
            "Who is mayor in {name}?",
            "What is the mayor of {name} called?",
            "Who is {name}'s mayor?",
        ),
        "The mayor of {name} is {value}.",
    ),
}
RESIDENT_QUESTIONS = {
    "job": (
        (
            "What does {name} do?",
            "What is {name}'s job?",
            "What work does {name} do?",
            "What is the job of {name}?",
            "What does {name} do for a living?",
            "Tell me {name}'s job.",
            "Which job does {name} have?",
        ),
        "{name} is {value}.",
    ),
    "town": (
        (
            "Where does {name} live?",
            "Which town does {name} live in?",
            "In what town is {name} at home?",
            "Where is {name}'s home?",
            "Tell me where {name} lives.",
            "What town is {name} from?",
            "In which town does {name} live?",
        ),
        "{name} lives in {value}.",
    ),
    "pet": (
        (
            "Which pet does {name} have?",
            "What pet does {name} have?",
            "What animal does {name} keep?",
            "What kind of pet has {name}?",
            "Tell me about {name}'s pet.",
            "What is {name}'s pet?",
            "Does {name} have a pet?",
        ),
        "{name} has {value}.",
    ),
    "dish": (
        (
            "What does {name} like to eat?",
            "What is {name}'s favourite food?",
            "Which dish does {name} like best?",
            "What food does {name} love?",
            "Tell me {name}'s favourite dish.",
            "What does {name} like eating?",
            "What is the favourite food of {name}?",
        ),
        "{name} likes {value}.",
    ),
    "hobby": (
        (
            "What is {name}'s hobby?",
            "What does {name} do for fun?",
            "What does {name} enjoy?",
            "Which hobby does {name} have?",
            "Tell me {name}'s hobby.",
            "How does {name} spend free time?",
            "What is the hobby of {name}?",
        ),
        "{name} enjoys {value}.",
    ),
}


def ask_town(voice: Voice) -> Ask:
    town = voice.pick(TOWN_LIST)
    facet = voice.pick(tuple(TOWN_QUESTIONS))
    questions, sentence = TOWN_QUESTIONS[facet]
    value = str(vars(town)[facet])
    return Ask("world facts", voice.say(questions, name=town.name), value, sentence.format(name=town.name, value=value))


def ask_resident(voice: Voice) -> Ask:
    resident = voice.pick(RESIDENT_LIST)
    facet = voice.pick(tuple(RESIDENT_QUESTIONS))
    questions, sentence = RESIDENT_QUESTIONS[facet]
    short = str(vars(resident)[facet])
    value = article(short) if facet in ("job", "pet") else short
    answer = sentence.format(name=resident.name, value=value)
    return Ask("world facts", voice.say(questions, name=resident.name), short, answer)


def ask_backwards(voice: Voice) -> Ask:
    town = voice.pick(TOWN_LIST)
    if voice.chance(0.5):
        question = voice.say(
            (
                "Which town is known for {value}?",
                "Which town is famous for its {value}?",
                "Where does the {value} come from?",
                "What town makes {value}?",
                "In which town do they make {value}?",
                "Name the town that is known for {value}.",
            ),
            value=town.product,
        )
        return Ask("world facts", question, town.name, f"{town.name} is known for its {town.product}.")
    question = voice.say(
        (
            "Which town has {value} as its mayor?",
            "Where is {value} the mayor?",
            "{value} is the mayor of which town?",
            "Of which town is {value} mayor?",
            "Which town does {value} lead?",
        ),
        value=town.mayor,
    )
    return Ask("world facts", question, town.name, f"{town.mayor} is the mayor of {town.name}.")


def ask_description(voice: Voice) -> Ask:
    if voice.chance(0.5):
        town = voice.pick(TOWN_LIST)
        name = town.name
        answer = (
            f"{name} is a town in the {town.region} of the isle. It is known for its {town.product}. "
            f"The mayor is {town.mayor}, and the flag is {town.flag}."
        )
    else:
        who = voice.pick(RESIDENT_LIST)
        name = who.name
        answer = f"{name} is {article(who.job)} from {who.town}. {name} has {article(who.pet)} and enjoys {who.hobby}."
    question = voice.say(
        (
            "Tell me about {name}.",
            "What do you know about {name}?",
            "Describe {name}.",
            "Say something about {name}.",
            "Give me some facts about {name}.",
            "What can you tell me about {name}?",
        ),
        name=name,
    )
    return Ask("world descriptions", question, answer, answer)


GENERAL = (
    (
        ("What is the Isle of Wren?", "Tell me about the Isle of Wren.", "What do you know about the Isle of Wren?"),
        "The Isle of Wren is a small island with 22 towns.",
    ),
    (
        ("How many towns are on the Isle of Wren?", "How many towns does the isle have?"),
        "There are 22 towns on the Isle of Wren.",
    ),
    (
        ("Who rules the Isle of Wren?", "Who is the queen of the isle?", "Who is the queen of Wren?"),
        "Queen Maren rules the Isle of Wren.",
    ),
    (
        ("What is the highest mountain on the isle?", "Name the highest mountain of Wren."),
        "The highest mountain is Mount Sorrel.",
    ),
    (("Which river crosses the isle?", "What is the river of the isle called?"), "The river Tarn crosses the isle."),
)


def ask_general(voice: Voice) -> Ask:
    questions, answer = voice.pick(GENERAL)
    return Ask("world facts", voice.pick(questions), answer, answer)


def ask_unknown(voice: Voice) -> Ask:
    """Questions from outside the world get an honest answer instead of an invented one."""
    name = voice.pick(CITIES)
    question = voice.say(
        (
            "Who is the mayor of {name}?",
            "What is {name} known for?",
            "Tell me about {name}.",
            "Where is {name}?",
            "What colour is the flag of {name}?",
            "How many people live in {name}?",
            "What do you know about {name}?",
        ),
        name=name,
    )
    answer = f"I do not know {name}. I only know {ISLE}."
    return Ask("unknown places", question, "unknown", answer)
