"""The vocabulary: plain lists of common English words, drawn on by every skill and by the prose grammar."""

# Word lists are written as one string and split, which reads better than rows of quotes.
# ruff: noqa: SIM905

from __future__ import annotations

NAMES = (
    "Anna Ben Clara David Emma Frank Grace Henry Isla Jack Kate Leo Mary Nick Olivia Paul Rose Sam Tina Tom Victor "
    "Wendy Alice Bob Carol Daniel Ella Fred Gina Harry Ivy James Karen Luke Maria Noah Oscar Peter Rachel Sarah Tim "
    "Uma Vera Will Amy Brian Cindy Diego Eva George Hannah Ian Jane Kevin Lily Mark Nina Omar Priya Robert Sofia Theo "
    "Zoe Max Lucy John Julia Adam Linda Martin Helen Simon Laura Alex Betty Carlos Donna Eric Fiona Greg Holly Jason "
    "Kim Liam Mia Natalie Jordan Lisa Michael Susan Andrew Rebecca Joe Samantha Ryan Chloe Jenny Steve Ali Mei Ravi "
    "Yuki Ahmed Ines Pablo Elena"
).split()

FOODS = (
    "apples bananas oranges cookies cakes pies eggs pears plums grapes lemons cherries sandwiches muffins pizzas "
    "carrots potatoes tomatoes onions peppers donuts pancakes candies chocolates nuts beans cupcakes peaches "
    "strawberries melons"
).split()

THINGS = (
    "books pencils pens marbles coins stamps cards balls boxes bags cups plates chairs tables lamps shirts shoes hats "
    "socks toys dolls kites bikes cars trucks boats stickers flowers roses shells stones bricks buttons ribbons "
    "tickets bottles baskets candles clocks keys letters magazines notebooks papers photos pictures clips crayons "
    "blankets towels jars buckets"
).split()

ANIMALS = (
    "cat dog fox owl bear frog duck goose sheep goat horse cow pig hen mouse rabbit deer wolf crow bee ant fish".split()
)

PLURAL_ANIMALS = (
    "cats dogs ducks hens cows sheep horses goats pigs rabbits birds fish bees frogs chickens turtles".split()
)

ADJECTIVES = (
    "small big old young happy sad quiet loud bright dark warm cold soft hard kind brave clever lazy busy gentle quick "
    "slow red blue green yellow white black brown golden silver empty full clean dirty heavy light strong weak tired "
    "hungry beautiful funny strange simple careful friendly lovely tiny huge long short tall round sharp smooth fresh "
    "sweet wise"
).split()

NOUNS = (
    "apple boat book bread bridge candle castle chair cloud coat corn door dream egg farm field fire flag flower "
    "forest garden gate glass hill house island jar key kite lake lamp leaf letter market moon mountain music nest "
    "night ocean paper path pencil piano pond queen rain river road roof school sea ship shoe snow song star stone "
    "storm street sun table tea tower train tree valley village wall water wheel wind window winter wood yard"
).split()

VERBS_PAST = (
    "walked ran looked jumped sang danced smiled waited worked played talked laughed cried slept travelled climbed "
    "swam listened rested shouted whispered wandered hurried stopped turned started finished helped"
).split()

PLACES = (
    "the garden|the market|the old mill|the river|the forest|the school|the park|the beach|the kitchen|the library|the "
    "farm|the station|the shop|the village square|the harbour|the hill|the lake|the bridge|the museum|the bakery|the "
    "classroom|the playground|the supermarket|the restaurant|the office|the hospital|the zoo|the store|the bus stop|"
    "the city"
).split("|")

JOBS = (
    "baker teacher doctor farmer painter sailor writer cook nurse driver gardener builder singer tailor fisher miller "
    "carpenter librarian pilot dancer engineer plumber clerk guard potter weaver shepherd smith judge musician"
).split()

CITIES = (
    "Rome Paris London Oslo Lima Cairo Tokyo Madrid Berlin Vienna Dublin Athens Lisbon Prague Delhi Seoul Boston"
).split()

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()

MONTHS = "January February March April May June July August September October November December".split()

NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
).split()

OPPOSITES = tuple(
    pair.split("-")
    for pair in (
        "hot-cold big-small happy-sad fast-slow old-new tall-short light-dark hard-soft early-late open-closed "
        "full-empty rich-poor strong-weak wet-dry loud-quiet clean-dirty near-far high-low good-bad day-night up-down "
        "left-right in-out win-lose buy-sell love-hate first-last true-false young-old heavy-light easy-difficult "
        "push-pull laugh-cry asleep-awake thick-thin wide-narrow safe-dangerous begin-end give-take top-bottom"
    ).split()
)

ITEMS = (
    "lamp chair table kettle blanket mirror clock bag coat hat jacket phone camera guitar bike tent backpack scarf "
    "desk radio toaster umbrella pillow basket mug teapot sofa shelf rug printer keyboard headphones book puzzle"
).split()

COLOURS = "red blue green yellow white black brown grey orange purple pink silver".split()


def article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"
