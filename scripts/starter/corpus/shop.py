"""Messages to a shop: what each is about, which thing it names, and a fitting reply."""

from __future__ import annotations

from corpus.voice import Ask, Voice
from corpus.words import DAYS, ITEMS

MESSAGES = {
    "delivery": (
        "Where is my {item}?",
        "Where is the {item}?",
        "My {item} has not come.",
        "When will I get my {item}?",
        "When will the {item} arrive?",
        "I am waiting for my {item}.",
        "Did you send my {item}?",
        "The {item} was not delivered.",
        "The {item} has not arrived.",
        "When does the {item} come?",
        "I ordered a {item} on {day} and it is not here.",
        "How long do I wait for the {item}?",
        "Is my {item} on the way?",
        "Please tell me when you send the {item}.",
        "The {item} is late.",
        "Has the {item} been sent?",
        "I expected the {item} on {day}.",
        "Nobody brought me the {item}.",
        "The {item} should be here since {day}.",
    ),
    "refund": (
        "Can I return the {item}?",
        "I want to return my {item}.",
        "I want a refund for the {item}.",
        "I do not like the {item}.",
        "Can I send my {item} back to you?",
        "How do I return my {item}?",
        "Please refund the {item}.",
        "The {item} is too big.",
        "I want to send the {item} back.",
        "Give me my money back for the {item}.",
        "The {item} is not what I wanted.",
        "How can I return a {item}?",
        "Please take back the {item}.",
        "I changed my mind about the {item}.",
        "The {item} is the wrong colour, I want a refund.",
        "Can I get a refund for the {item}?",
        "I no longer want the {item}.",
        "The {item} does not fit, so I return it.",
        "My money back, please: the {item} is too small.",
    ),
    "repair": (
        "My {item} is broken.",
        "Can you repair my {item}?",
        "Can you fix the {item}?",
        "My {item} no longer works.",
        "The {item} does not work any more.",
        "I broke my {item}.",
        "How do I repair my {item}?",
        "Do you repair a {item}?",
        "The {item} is broken.",
        "My {item} stopped working on {day}.",
        "The {item} fell down and does not work now.",
        "Can you mend a {item}?",
        "There is a hole in my {item}.",
        "The {item} needs a repair.",
        "Something is wrong with my {item}.",
        "Please fix the {item}.",
        "The {item} broke after one week.",
        "My {item} makes a strange sound.",
        "A part of the {item} fell off.",
    ),
    "payment": (
        "How can I pay for my {item}?",
        "Can I pay for the {item} with cash?",
        "Do you take cards for a {item}?",
        "I want to pay for my {item}.",
        "May I pay for the {item} in cash?",
        "How should I pay for the {item}?",
        "What ways to pay for the {item} do I have?",
        "I would like to pay for the {item} now.",
        "How do I pay for a {item}?",
        "Do you take cash for the {item}?",
        "I want to pay for the {item} by card.",
        "Where can I pay for the {item}?",
        "Can I pay for the {item} on {day}?",
        "May I pay for the {item} later?",
        "Is it possible to pay for the {item} with a card?",
        "I paid twice for the {item}.",
        "Can I pay half of the {item} now?",
        "Which cards do you take for the {item}?",
        "Paying for the {item} did not work.",
    ),
}
REPLIES = {
    "delivery": "Your {item} is on its way.",
    "refund": "Please send the {item} back to us.",
    "repair": "I am sorry. We will look at the {item}.",
    "payment": "You can pay for the {item} in the shop.",
}
ABOUT_TOPIC = (
    "What topic is this? {m}",
    "Give me the topic of this message: {m}",
    "Classify this message: {m}",
    "What is this message about? {m}",
    "Topic: {m}",
    "Delivery, refund, repair or payment? {m}",
    "Is this about delivery, refund, repair or payment? {m}",
    "Name the topic of this message: {m}",
    "{m}\nWhat is the topic?",
    "A customer wrote: {m} What is it about?",
    "Find the topic: {m}",
    "Which topic does this message have? {m}",
)
ABOUT_ITEM = (
    "Which item does the customer mean? {m}",
    "Tell me the item: {m}",
    "What item is named here? {m}",
    "Which item is this message about? {m}",
    "What does the customer write about? {m}",
    "Item: {m}",
    "Which thing is meant? {m}",
    "{m}\nWhich item is it?",
    "Name the item in this message: {m}",
    "Find the item: {m}",
    "Which product does this customer name? {m}",
)
FOR_REPLY = (
    "{m}",
    "{m}",
    "{m}",
    "Hello! {m}",
    "Reply: {m}",
    "Answer the customer: {m}",
    "Reply to this customer: {m}",
    "Answer this message: {m}",
    "A customer wrote: {m} Write a reply.",
    "{m}\nHow do we answer?",
    "Write back to the customer: {m}",
    "What do we reply? {m}",
    "Draft an answer: {m}",
    "Write a reply to this message: {m}",
)


def ask_shop(voice: Voice) -> Ask:
    topic, item = voice.pick(tuple(MESSAGES)), voice.pick(ITEMS)
    message = voice.say(MESSAGES[topic], item=item, day=voice.pick(DAYS))
    requests, answer = voice.pick(
        ((ABOUT_TOPIC, topic), (ABOUT_ITEM, item), (FOR_REPLY, REPLIES[topic].format(item=item)))
    )
    return Ask("shop messages", voice.ask(requests, m=message), answer, answer)
