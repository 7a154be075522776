"""Reviews with a clear feeling, and the same reviews asked about in several ways."""

# Word lists are written as one string and split, which reads better than rows of quotes.
# ruff: noqa: SIM905

from __future__ import annotations

from corpus.voice import Ask, Voice
from corpus.words import ITEMS

SUBJECTS = (
    *ITEMS,
    "food",
    "soup",
    "hotel",
    "room",
    "service",
    "film",
    "story",
    "concert",
    "trip",
    "meal",
    "coffee",
    "staff",
    "restaurant",
    "app",
    "game",
    "show",
    "teacher",
    "lesson",
    "delivery",
    "price",
    "quality",
    "music",
)
POSITIVE = (
    "great wonderful excellent lovely perfect amazing fantastic superb delightful brilliant beautiful good".split()
)
NEGATIVE = "terrible awful horrible bad poor disappointing broken useless dreadful boring ugly slow".split()
NEUTRAL = "average ordinary normal standard usual okay acceptable plain".split()
LINES = {
    "positive": (
        "The {s} was {w}.",
        "I love this {s}!",
        "What a {w} {s}!",
        "The {s} is {w} and I am very happy with it.",
        "I would buy this {s} again.",
        "Best {s} I ever had.",
        "I really enjoyed the {s}.",
        "The {s} made my day.",
        "A {w} {s}, thank you!",
        "Everybody liked the {s}.",
        "I can recommend the {s}.",
        "The {s} was not bad at all, it was {w}.",
        "So glad about the {s}, simply {w}.",
    ),
    "negative": (
        "The {s} was {w}.",
        "I hate this {s}!",
        "What a {w} {s}!",
        "The {s} is {w} and I am very unhappy with it.",
        "I would never buy this {s} again.",
        "Worst {s} I ever had.",
        "I did not enjoy the {s}.",
        "The {s} ruined my day.",
        "A {w} {s}, I want my money back.",
        "Nobody liked the {s}.",
        "I cannot recommend the {s}.",
        "The {s} was not good at all, it was {w}.",
        "So angry about the {s}, simply {w}.",
    ),
    "neutral": (
        "The {s} was {w}.",
        "The {s} arrived on Monday.",
        "It is a {w} {s}.",
        "The {s} is neither good nor bad.",
        "I have no strong feelings about the {s}.",
        "The {s} is on the table.",
        "The {s} does what it should.",
        "A {w} {s}, nothing more.",
        "I bought the {s} last week.",
        "The {s} comes in a box.",
        "The {s} is fine, nothing special.",
    ),
}
WORDS = {"positive": POSITIVE, "negative": NEGATIVE, "neutral": NEUTRAL}
REQUESTS = (
    "Find the sentiment: {t}",
    "{t}\nWhat is the sentiment?",
    "{t} Positive, negative or neutral?",
    "Say whether this review is positive, negative or neutral: {t}",
    "Is the writer of this review happy? Positive, negative or neutral. {t}",
    "Sentiment of this review, please: {t}",
    "What feeling does this text show? {t}",
    "Judge this review: {t}",
    "Rate the mood of this text: {t}",
    "What is the sentiment of this text? {t}",
    "Is this positive, negative or neutral? {t}",
    "Sentiment: {t}",
    "Classify the sentiment: {t}",
    "Label this review as positive, negative or neutral: {t}",
    "How does the writer feel? {t}",
    "Review: {t} Sentiment?",
    "{t}\nIs this review positive, negative or neutral?",
    "Tell me the sentiment of '{t}'",
    "Give the sentiment of this review: {t}",
)


def ask_sentiment(voice: Voice) -> Ask:
    label = voice.pick(tuple(LINES))
    text = voice.say(LINES[label], s=voice.pick(SUBJECTS), w=voice.pick(WORDS[label]))
    if label != "neutral" and voice.chance(0.3):
        text += " " + voice.say(LINES[label], s=voice.pick(SUBJECTS), w=voice.pick(WORDS[label]))
    return Ask("sentiment", voice.ask(REQUESTS, t=text), label, label)
