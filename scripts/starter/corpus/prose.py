"""Running English: short stories and a wide-vocabulary sentence grammar.

The stories teach fluent sentences; the grammar gives the tokenizer the common words of everyday and schoolbook English.
"""

# Word lists are written as one string and split, which reads better than rows of quotes.
# ruff: noqa: SIM905

from __future__ import annotations

from corpus.voice import Ask, Voice
from corpus.words import (
    ADJECTIVES,
    ANIMALS,
    COLOURS,
    DAYS,
    FOODS,
    JOBS,
    MONTHS,
    NAMES,
    NOUNS,
    NUMBER_WORDS,
    PLACES,
    PLURAL_ANIMALS,
    THINGS,
    VERBS_PAST,
    article,
)

OPENERS = (
    "Once upon a time there was {a_adj} {animal} named {name}.",
    "There was once {a_adj} {animal}. Its name was {name}.",
    "{name} was {a_adj} {animal} who lived near {place}.",
    "One day, {a_adj} {animal} called {name} went to {place}.",
    "Long ago, {a_adj} {animal} lived near {place}. Everybody called it {name}.",
)
MIDDLES = (
    "Every morning {name} {verb} to {place}.",
    "On {day}, {name} found {a_adj2} {noun} near {place}.",
    "{name} met {a_adj2} {other}, and they {verb} together.",
    "It rained, and {name} {verb} under a tree.",
    "{name} wanted to see {place}, but the way was long.",
    "There {name} saw a {noun} and {verb} with joy.",
    "A {other} asked for help, and {name} said yes.",
)
ENDINGS = (
    "In the end, they became good friends.",
    "At night {name} went home and slept well.",
    "From that day on, {name} was never sad again.",
    "And {name} was happy.",
    "{name} learned that it is good to share.",
    "They ate soup together and laughed until night.",
)
STORY_REQUESTS = (
    "Tell me a story about {animal}.",
    "Tell me a short story about {animal}.",
    "Write a story about {animal}.",
    "I want to hear a story about {animal}.",
    "Write a short story with {animal}.",
    "Can you tell a story about {animal}?",
    "Please write a little story about {animal}.",
    "A story about {animal}, please.",
)


def ask_story(voice: Voice) -> Ask:
    animal, name = voice.pick(ANIMALS), voice.pick(NAMES)
    lines = [OPENERS, *(MIDDLES for _ in range(voice.number(1, 3))), ENDINGS]
    said = [
        voice.pick(shapes).format(
            name=name,
            animal=animal,
            a_adj=article(voice.pick(ADJECTIVES)),
            a_adj2=article(voice.pick(ADJECTIVES)),
            place=voice.pick(PLACES),
            verb=voice.pick(VERBS_PAST),
            day=voice.pick(DAYS),
            noun=voice.pick(NOUNS),
            other=voice.pick(ANIMALS),
        )
        for shapes in lines
    ]
    story = " ".join(said)
    return Ask("story", voice.say(STORY_REQUESTS, animal=article(animal)), story, story)


SUBJECTS = (
    "{name}|{name} and {name}|the {job}|a {job}|the {adj} {noun}|my friend|his brother|her sister|the teacher|each "
    "student|the children|every child|all of them|some people|the other half|the rest of the class|one of the girls|"
    "the boys|their parents|our family|the company|the team|the players|a group of friends|the customers|nobody|"
    "everyone|the first person|the owner|his mother|her father|the grandmother|an uncle|the neighbor|the driver|the "
    "workers|the store|the school"
).split("|")
VERBS = (
    "needs buys sells makes gives gets takes has spends earns saves pays finds uses eats drinks brings keeps loses "
    "wins reads writes draws cuts plants grows builds counts collects sends receives wants likes shares carries fills "
    "picks bakes cooks washes cleans owns orders prepares delivers catches throws measures divides adds splits leaves "
    "returns donates borrows needed bought sold made gave got took had spent earned saved paid found used ate drank "
    "brought kept lost won read wrote drew planted grew built counted collected sent received wanted liked shared "
    "carried filled picked baked cooked decided finished started invited contains includes produces costs weighs "
    "requires consumes charges"
).split()
OBJECTS = (
    "{num} {things}|{dig} {things}|{dig} {foods}|a {adj} {noun}|{dig} pounds of {foods}|half of the {things}|twice as "
    "many {things}|three times as many {foods}|{dig} more {things} than {name}|{dig} fewer {foods} than {name}|${dig}|"
    "{dig} dollars|${dig}.{dig} for each {noun}|{dig} cents|{dig}% of the money|{dig} hours of work|{dig} minutes|"
    "{dig} miles|{dig} feet of rope|a total of {dig} {things}|an equal number of {foods}|the remaining {things}|the "
    "same amount of water|{dig} gallons of milk|{dig} slices of cake|{dig} pieces of paper|{dig} pages of a book|{dig} "
    "{animals}|an average of {dig} points|one third of the {foods}|a quarter of the {things}|twice the price|{dig} "
    "grams of sugar|{dig} ounces of juice|{dig} square feet|{dig} inches|{dig} packs of {things}|{dig} boxes of "
    "{foods}|{dig} bags of rice|{dig} dozen eggs|{dig} cups of flour|{dig} bottles of water"
).split("|")
TAILS = (
    "in {place}|every day|each week|per month|every year|on {day}|in {month}|during the summer|in the morning|after "
    "school|before dinner|at night|for {dig} days|in {dig} weeks|last year|this month|the next day|altogether|in total|"
    "at the same time|for the party|for {pos} birthday|with {name}|from the store|to the {job}|at a price of ${dig} "
    "each|at the beginning of the week|by the end of the month|over the weekend|when it is {adj}|because the weather "
    "was {adj}|if the price goes up by {dig} percent|while {name} watches television|without any help|between {dig} "
    "and {dig} o'clock|at a speed of {dig} miles per hour|instead of {foods}|for the first time|more than once|as a "
    "gift|on the way home|so far|until then|together with the others"
).split("|")
QUESTIONS = (
    "How many {things} does {name} have left?|How much money did {name} spend in total?|How many {foods} are there "
    "altogether?|What is the total cost of the {things}?|How much does each {noun} cost?|How long will it take {name}?|"
    "How old is {name} now?|How many hours did {name} work last week?|What is the difference between the two numbers?|"
    "How much more does {name} need to save?|How far did {name} travel?|What percentage of the {things} is {colour}?|"
    "How many people are there in the {noun}?|Why does {name} like {foods}?|Where did the {job} go?|When will {name} "
    "come back?|If {name} has {dig} {things}, how many will each of them get?|How many more {foods} does {name} have "
    "than {name}?|How many years will it be before {name} is twice as old as {name}?"
).split("|")
WORKING = (
    "{name} has {dig}+{dig}={dig} {things}.|First, find the total number of {things}: {dig} * {dig} = {dig}.|The total "
    "cost is {dig} x ${dig} = ${dig}.|So there are {dig} - {dig} = {dig} {foods} left.|Then subtract {dig} from {dig} "
    "to get {dig}.|Next, multiply the number of {things} by the price.|Thus, the answer is {dig}.|Therefore, {name} "
    "earned {dig}/{dig} = ${dig} per hour.|In total, they spent {dig} * {dig} = {dig} dollars.|He bought {dig} x {dig} "
    "= {dig} {foods}.|She needs {dig} more {things}.|This means that each one gets {dig} {foods}.|The {things} cost "
    "{dig} cents each, so {dig} of them cost ${dig}.|That leaves {dig} - {dig} = {dig}.|Divide the total by the number "
    "of days.|Add these together.|Let x be the number of {things}.|After that, there were only {dig} {things} "
    "remaining."
).split("|")
GENERAL_WORDS = (
    "about above across actually against age ago almost alone along already also although always amount among another "
    "answer any anything apart around asked away back balance bank base basic became become behind being below beside "
    "best better beyond bit body both bottom break brother business call came cannot capital case cause center certain "
    "chance change cheap check choice choose class clear close college color common complete cookie correct count "
    "country couple course cover cross daily daughter dead deal dear deep degree depth different direct discount "
    "distance double doubt down drive during each earlier early earth easy edge eight either else end energy enough "
    "entire equal even evening ever every everything exactly example except expect experience extra eye face fact fair "
    "fall far fast favorite fee few field fifth fifteen fifty figure final fine floor follow foot force forty forward "
    "four fraction free friend front fruit full fun future game general girl goal gold gone great ground group grow "
    "guess half hand happen hard head health hear heart height held help here herself high himself history hold hope "
    "hour house however human hundred idea important inch income increase initial inside instead interest into itself "
    "job join just keep kind knew know land language large last late later law lead learn least left length less "
    "letter level life light line list little live local lunch machine main make man many matter maximum maybe mean "
    "meal meat medium member middle might million mind minimum minus mix model moment monthly more most mother move "
    "much must name nature near nearly necessary never new next nice ninety normal note nothing number object off "
    "offer often once only open order original other outside over pair part party past pattern pay people per perfect "
    "perhaps period person phone piece place plan plant play plus point poor position possible power practice present "
    "price prize probably problem process profit program project promise public purchase put quality quarter question "
    "quite race raise rate rather reach real reason receive record reduce regular remain remainder remember rent "
    "repeat report result return rich right room rule safe sale same save scale school science score season seat "
    "second section seed sense separate series serve set seven several shall shape share sheet short should show side "
    "sign similar since single sister six size skill sold some someone something sometimes son soon sorry sort sound "
    "space speak special spend sport spot spread spring stage stand state stay step still stop story straight strange "
    "student study subject such suppose sure surface system table take talk tank tax team tell temperature ten test "
    "than that their them themselves there these they thing think third thirty this those though thought thousand "
    "through time title today together tomorrow tonight too total touch toward town trade train travel trip true try "
    "turn twelve twenty twice type under understand unit until upon usual value vegetable very video view visit voice "
    "wait walk want watch way week weekend weekly weight well went were what when where which while whole why wide "
    "width wife will wish within without woman women wonder word work world worth would write wrong year yesterday yet "
    "young yourself lawn garage garbage dress jeans chicken cheese bread butter cream ice milk sugar flour homework "
    "lesson teacher classroom grade exam paper computer laptop movie theater soccer basketball football tennis "
    "swimming breakfast snack salad soup pizza burger vacation hotel airport flight gas gallon highway mile road speed "
    "battery salary allowance budget bill cash coin dollar cent credit loan debt deposit donation charity museum "
    "concert ticket guest wedding birthday present gift balloon decoration fence wall paint brush roof window door "
    "kitchen bathroom bedroom furniture clothes"
).split()


def sentence(voice: Voice) -> str:
    """One sentence of the wide grammar; its numbers need not add up, it is there for the words."""
    shape = voice.number(0, 11)
    if shape < 5:
        text = f"{voice.pick(SUBJECTS)} {voice.pick(VERBS)} {voice.pick(OBJECTS)} {voice.pick(TAILS)}."
    elif shape < 7:
        text = voice.pick(QUESTIONS)
    elif shape < 9:
        text = voice.pick(WORKING)
    else:
        text = " ".join(voice.pick(GENERAL_WORDS) for _ in range(voice.number(6, 14))) + "."
    while "{" in text:
        start, _, rest = text.partition("{")
        field, _, tail = rest.partition("}")
        text = start + fill(voice, field) + tail
    return text[0].upper() + text[1:]


def fill(voice: Voice, field: str) -> str:
    if field == "dig":
        return str(voice.number(1, 99))
    if field == "pos":
        return voice.pick(("his", "her", "their", "my"))
    lists = {
        "name": NAMES, "job": JOBS, "adj": ADJECTIVES, "noun": NOUNS, "things": THINGS, "foods": FOODS,
        "animals": PLURAL_ANIMALS,
        "num": NUMBER_WORDS, "place": PLACES, "day": DAYS, "month": MONTHS, "colour": COLOURS,
    }  # fmt: skip
    return voice.pick(lists[field])


def paragraph(voice: Voice) -> str:
    return " ".join(sentence(voice) for _ in range(voice.number(2, 6)))


def ask_prose(voice: Voice) -> Ask:
    text = paragraph(voice)
    question = voice.say(
        (
            "Write some sentences.",
            "Write a few lines.",
            "Write anything.",
            "Just write something.",
            "Fill a page with sentences.",
            "Some sentences, please.",
        )
    )
    return Ask("prose", question, text, text)
