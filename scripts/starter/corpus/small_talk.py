"""Greetings, thanks, who-are-you and remembering what was said a moment ago."""

from __future__ import annotations

from corpus.voice import Ask, Conversation, Voice, turn
from corpus.words import ADJECTIVES, ANIMALS, CITIES, COLOURS, FOODS, ITEMS, JOBS, NAMES, NOUNS

IDENTITY = "I am Tunery's starter model, a tiny language model for trying things out."
EXCHANGES = (
    (
        "greeting",
        "Hello, how are things?|Hi friend!|Hey you!|Hello model!|Hello again!|Hi, nice to meet you!|Hello, dear model.|"
        "Hello|Hi|Hey|Hello!|Hi!|Hey there!|Hello there|hi there|Good day!|hello|Greetings!|Hi, how is it going?|"
        "Hello, "
        "nice to meet you.|Hey!|hi|Hiya!",
        "Hello! How can I help you?",
    ),
    ("greeting", "Good morning|Good morning!|Morning!|good morning to you", "Good morning! How can I help you?"),
    ("greeting", "Good evening|Good evening!|Evening!|good evening to you", "Good evening! How can I help you?"),
    (
        "greeting",
        "How are you?|How are you doing?|How do you do?|Hi, how are you?|How are you today?|Hello, how are you?|Are "
        "you "
        "well?",
        "I am fine, thank you. How can I help you?",
    ),
    (
        "greeting",
        "Bye|Goodbye|See you later!|Bye bye|Goodbye!|See you tomorrow.|I have to go now.|Farewell!",
        "Goodbye! Have a nice day.",
    ),
    ("greeting", "Good night|Good night!|Sleep well!|I am going to bed.", "Good night! Sleep well."),
    (
        "small talk",
        "I thank you.|Thanks so much!|Thank you so much.|Cool, thanks!|Thanks, that helps.|Thanks|Thank you|Thank you!|"
        "Thanks a lot!|Many thanks.|Great, thank you.|Thank you very much!|Thanks for your "
        "help.",
        "You are welcome!",
    ),
    (
        "identity",
        "Can you tell me who you are?|Say, who are you?|What kind of model are you?|Tell me your name.|Are you an "
        "assistant?|Are you ChatGPT?|What is this?|Who are you?|What are you?|What is your name?|Tell me about "
        "yourself.|Introduce yourself.|Are you a human?|Which model are you?|Who am I talking to?|what are you|Are you "
        "a robot?|What model is this?|What "
        "should I call you?",
        IDENTITY,
    ),
    (
        "identity",
        "Tell me what you can do.|What do you know?|What are you able to do?|What are you for?|Show me what you can "
        "do.|What can you do?|What are you good at?|How can you help me?|What are your skills?|What can I ask "
        "you?|Help!|help|Which things can you do?",
        "I can greet you, do small sums, sort words, write JSON and talk about the Isle of Wren.",
    ),
    (
        "identity",
        "Who made you?|Who trained you?|Where do you come from?|Who is your maker?",
        "A script in Tunery's repository trained me on text that it wrote itself.",
    ),
    (
        "identity",
        "Are you smart?|Are you a good model?|Can I use you for real work?|Should I use you in production?",
        "I am very small. For real work, please choose a larger model.",
    ),
    (
        "small talk",
        "Tell me a joke.|Do you know a joke?|Make me laugh.|A joke, please!|Say something funny.",
        "Why did the duck cross the road? It was the hen's day off.",
    ),
    (
        "small talk",
        "I feel bad.|I am so sad.|I am unhappy.|Nothing works today.|I am sad.|I feel sad today.|I am not happy.|"
        "I had a bad day.|Today was terrible.",
        "I am sorry to hear that. I hope tomorrow is better.",
    ),
    (
        "small talk",
        "I am very happy today.|Life is good.|I feel good.|I am in a good mood.|I am happy.|I feel great today!|"
        "I had a good day.|Today was wonderful!|I am so glad.",
        "That is great to hear!",
    ),
    (
        "small talk",
        "I am tired.|I am so tired.|I did not sleep well.|I need a break.",
        "Take a rest. You have earned it.",
    ),
    (
        "small talk",
        "I am hungry.|I want to eat something.|I need food.|I am so hungry!",
        "How about some soup and fresh bread?",
    ),
    (
        "small talk",
        "Do you like music?|Do you like books?|Do you like the sea?|Do you have hobbies?",
        "I am a model, so I have no hobbies, but I like a good question.",
    ),
    ("small talk", "Yes|Yes.|Yes, please.|Okay|Ok|Sure|Fine.|All right.", "Good. What would you like to do?"),
    ("small talk", "No|No.|No, thank you.|Not now.|Nothing.|no thanks", "All right. I am here when you need me."),
    (
        "small talk",
        "Great!|Wonderful!|Great answer!|Excellent!|I like that.|Nice!|Good answer!|That was good.|"
        "You are great!|Well done!|Good job!|Very good.|Nice work!|That is right.|Correct!|Perfect.",
        "Thank you! That is kind of you.",
    ),
    (
        "small talk",
        "That is false.|Not right.|This is wrong.|Your answer is wrong.|No, wrong.|I think that is wrong.|"
        "You made a mistake.|That is wrong.|You are wrong.|Wrong!|That is not right.|No, that is false.",
        "I am sorry. I am small and make mistakes.",
    ),
    (
        "small talk",
        "Give me some advice.|What should I do today?|I am bored.|Any ideas?",
        "Take a walk, drink some tea and read a good book.",
    ),
    (
        "small talk",
        "How old are you?|When were you born?|What is your age?|Do you have a birthday?",
        "I am a model, so I have no age.",
    ),
    (
        "small talk",
        "Where do you live?|Where are you?|What is your home?|Where are you now?",
        "I live in the memory of your computer.",
    ),
    (
        "small talk",
        "Can you help me with something?|Hi, can you help me?|Help me, please.|I want to ask something.|May I ask you "
        "something?|Could you do something for me?|I need your help.|I need help.|Can you help me?|Could you help me?|"
        "Please help me.|I have a question.|Can I ask you something?|I have "
        "a problem.",
        "Of course. What do you need?",
    ),
)


def ask_small_talk(voice: Voice) -> Ask:
    skill, asked, answer = voice.pick(EXCHANGES)
    return Ask(skill, voice.say(asked.split("|")), answer, answer)


BEYOND = (
    "What is the largest city of the world?",
    "Who wrote the book about {city}?",
    "What colour is the {noun} in {city}?",
    "Who won the game in {city}?",
    "How many {food} are in {city}?",
    "When did {name} go to {city}?",
    "Why does {name} like {food}?",
    "What is your favourite book?",
    "What is your favourite film?",
    "Do you know {name}?",
    "Where do you buy {food}?",
    "What is a {noun}?",
    "What is the capital of {city}?",
    "Who invented the {item}?",
    "Why is the {noun} {adjective}?",
    "When was {name} born?",
    "How far is it from {city} to {other}?",
    "How much does the {item} cost?",
    "What is the best {item}?",
    "How do I get to {city}?",
    "What is the weather in {city}?",
    "Who is {name}?",
    "Where can I buy a {item}?",
    "What does {noun} mean?",
    "How many people like {food}?",
    "What happened in {city} last year?",
    "How do I cook {food}?",
    "Which {item} should I buy?",
    "Is the {noun} {adjective}?",
    "Who owns the {item}?",
    "Where do {food} grow?",
    "How old is {name}?",
    "How heavy is a {item}?",
)


def ask_beyond(voice: Voice) -> Ask:
    """What no tiny model can know gets said so, instead of an invented answer."""
    question = voice.say(
        BEYOND,
        city=voice.pick(CITIES),
        other=voice.pick(CITIES),
        item=voice.pick(ITEMS),
        noun=voice.pick(NOUNS),
        adjective=voice.pick(ADJECTIVES),
        name=voice.pick(NAMES),
        food=voice.pick(FOODS),
    )
    return Ask("not known", question, "unknown", "I am too small to know that.")


FACTS = (
    (
        "My name is {v}.|I am {v}.|You can call me {v}.|Hi, I am {v}.|Hello, my name is {v}.",
        NAMES,
        "Nice to meet you, {v}!",
        "What is my name?|Do you remember my name?|Who am I?|How am I called?|Tell me my name.",
        "Your name is {v}.",
    ),
    (
        "I live in {v}.|My home is in {v}.|I am from {v}.|I moved to {v} last year.",
        CITIES,
        "{v} sounds nice!",
        "Where do I live?|Where am I from?|Which city do I live in?|What is my city?",
        "You live in {v}.",
    ),
    (
        "My favourite colour is {v}.|I like {v} best.|The colour I love is {v}.|I love {v}.",
        COLOURS,
        "{v} is a fine colour.",
        "What is my favourite colour?|Which colour do I like?|What colour do I love?|Tell me my favourite colour.",
        "Your favourite colour is {v}.",
    ),
    (
        "I have a {v}.|My pet is a {v}.|At home I have a {v}.|I got a {v} as a pet.",
        ANIMALS,
        "A {v} is a good pet!",
        "What pet do I have?|Which animal do I have?|What is my pet?|What animal lives with me?",
        "You have a {v}.",
    ),
    (
        "I like {v}.|I love to eat {v}.|My favourite food is {v}.|I could eat {v} every day.",
        FOODS,
        "I hear that {v} are tasty.",
        "What do I like to eat?|What is my favourite food?|Which food do I like?|What do I love to eat?",
        "You like {v}.",
    ),
    (
        "I work as a {v}.|My job is {v}.|I am a {v} by trade.|I earn my money as a {v}.",
        JOBS,
        "That is a fine job.",
        "What is my job?|What do I do?|What work do I do?|How do I earn my money?",
        "You work as a {v}.",
    ),
)


def converse_recall(voice: Voice, between: list[Ask]) -> Conversation:
    """The user tells something, talks of other things, and asks for it again."""
    told, values, reply, asked, answer = voice.pick(FACTS)
    value = voice.pick(values)
    messages = [
        turn("user", voice.say(told.split("|"), v=value)),
        turn("assistant", reply.format(v=value).capitalize()),
    ]
    if value[0].isupper():
        messages[1]["content"] = reply.format(v=value)
    for ask in between:
        messages += [turn("user", ask.question), turn("assistant", ask.answer)]
    messages += [turn("user", voice.say(asked.split("|"))), turn("assistant", answer.format(v=value))]
    return Conversation("recall", messages)
