"""Words for every attribute value: shared ones, and those that only one benchmark's annotators use.

A row reads `value: shared / plain / fine / casual`, synonyms apart by commas. Machine captioners know the
shared column only, so each benchmark holds words that pre-training never shows: transfer suffers for the
reason it does in life. `~` stands for the colour.
"""

from collections.abc import Mapping
from typing import Literal

Dialect = Literal["shared", "plain", "fine", "casual"]
DIALECTS: tuple[Dialect, ...] = ("shared", "plain", "fine", "casual")
Words = Mapping[str, tuple[str, ...]]

COLOUR = """
black: black / ebony / jet black / pitch dark
white: white / ivory / snow white / milky
grey: grey, gray / ash / slate / silver
red: red / scarlet / bright red / cherry
maroon: dark red, maroon / crimson / burgundy / wine
pink: pink / rose / salmon / fuchsia
orange: orange / tangerine / amber / carrot
yellow: yellow / lemon / golden / mustard
green: green / emerald / grass green / jade
olive: olive, army green / moss / khaki green / military
teal: teal, turquoise / aqua / cyan / peacock
blue: blue / cobalt / royal blue / azure
navy: navy, dark blue / midnight / indigo / ink
sky: light blue / sky / baby blue / powder
purple: purple / violet / plum / lilac
brown: brown / chestnut / coffee / chocolate
beige: beige, cream / tan / sand / camel
"""
PERSON = """
man: man / gentleman / male pedestrian / guy
woman: woman / lady / female pedestrian / gal
boy: boy / lad / male child / kid boy
girl: girl / little lass / female child / kid girl
"""
UPPER = """
t-shirt: t-shirt / tee / crew neck tee / top
shirt: shirt / button-up / collared blouse / button-down
sweater: sweater / pullover / knitted jersey / jumper
hoodie: hoodie / hooded sweatshirt / hooded pullover / sweatshirt
jacket: jacket / windbreaker / zipped blazer / bomber
coat: coat, long coat / overcoat / trench / parka
vest: tank top / camisole / sleeveless top / singlet
dress: dress / gown / one-piece / sundress
"""
LOWER = """
trousers: pants, trousers / slacks / straight trousers / bottoms
jeans: jeans / denims / denim trousers / denim
shorts: shorts / bermudas / knee-length shorts / half pants
skirt: skirt / pleated skirt / flared skirt / mini
leggings: leggings / tights / skinny pants / stretch pants
"""
SHOES = """
sneakers: sneakers / trainers / sports shoes / kicks
boots: boots / ankle boots / leather boots / booties
sandals: sandals / flip-flops / open-toed sandals / slippers
leather shoes: leather shoes / loafers / oxfords / dress shoes
heels: high heels / pumps / heeled shoes / stilettos
"""
HAIR = """
short: short ~ hair / cropped ~ hair / ~ hair cut short / a short ~ hairdo
bald: a bald head / a shaved head / no hair on the head / a bald scalp
bob: a ~ bob / bobbed ~ hair / chin-length ~ hair / a ~ pageboy cut
long: long ~ hair / flowing ~ locks / ~ hair falling down the back / ~ hair hanging loose
ponytail: a ~ ponytail / ~ tresses tied back / ~ hair tied behind the head / a ~ pony
bun: ~ hair in a bun / a ~ topknot / ~ hair coiled up / ~ hair tied up
"""
HAIR_COLOUR = """
black: black, dark / raven / jet black / dark
brown: brown / brunette / chestnut / brownish
blonde: blonde / golden / flaxen / yellowish
grey: grey, gray / silver / ashen / greyish
ginger: red / ginger / auburn / coppery
"""
HAT = """
cap: cap, baseball cap / ball cap / peaked cap / snapback
beanie: beanie / woolen hat / knit cap / bobble hat
sun hat: sun hat, wide hat / brimmed hat / straw hat / floppy hat
"""
GLASSES = """
glasses: glasses / spectacles / eyeglasses / specs
sunglasses: sunglasses / dark glasses / tinted glasses / shades
"""
BAG = """
backpack: backpack / rucksack / double-shoulder bag / schoolbag
shoulder bag: shoulder bag / satchel / crossbody bag / messenger bag
handbag: handbag / purse / tote / clutch
suitcase: suitcase / trolley case / rolling luggage / luggage
plastic bag: plastic bag, shopping bag / carrier bag / polythene bag / sack
"""
CARRIED = """
phone: phone / cell phone / smartphone / mobile
umbrella: umbrella / parasol / folded umbrella / brolly
book: book / notebook / volume / magazine
bottle: bottle, water bottle / flask / drinking bottle / drink
"""
PATTERN = """
striped: striped / banded / horizontally striped / stripy
plaid: plaid, checked / checkered / gridded / tartan
dotted: dotted, polka dot / spotted / dot-patterned / speckled
printed: printed / graphic / logo-printed / patterned
two-tone: two-tone / two-coloured / colour-blocked / color block
"""
SLEEVE = """
long: long-sleeved, long sleeve / full-sleeve / long-sleeve / long arm
short: short-sleeved, short sleeve / half-sleeve / short-sleeve / short arm
none: sleeveless / sleeveless / sleeveless / sleeveless
"""


def parse_table(text: str) -> Mapping[str, Mapping[Dialect, tuple[str, ...]]]:
    """Value -> dialect -> synonyms."""
    table = {}
    for line in text.strip().splitlines():
        value, columns = line.split(": ")
        words = [tuple(column.strip().split(", ")) for column in columns.split(" / ")]
        table[value] = dict(zip(DIALECTS, words, strict=True))
    return table


SLOTS = {
    "colour": parse_table(COLOUR),
    "person": parse_table(PERSON),
    "upper": parse_table(UPPER),
    "lower": parse_table(LOWER),
    "shoes": parse_table(SHOES),
    "hair": parse_table(HAIR),
    "hair colour": parse_table(HAIR_COLOUR),
    "hat": parse_table(HAT),
    "glasses": parse_table(GLASSES),
    "bag": parse_table(BAG),
    "carried": parse_table(CARRIED),
    "pattern": parse_table(PATTERN),
    "sleeve": parse_table(SLEEVE),
}
PLURAL = frozenset({"trousers", "jeans", "shorts", "leggings", *SLOTS["shoes"], *SLOTS["glasses"]})
"""Values whose noun takes no article."""
