"""Colour words out of captions of infrared images, where no colour is seen; the same list finds them.

The list holds the words of TVI-LFM's filter and the plain colours that it lacks.
"""

import re

WORDS = """
amber aqua ash auburn azure beige black bleached blond blonde blue blueish bluish bronze brown brownish
brunette burgundy camel charcoal cobalt colorful colourful copper coral cream crimson cyan dark fuchsia
gold golden grassy gray grayish green greenish grey greyish indigo ivory kaki khaki lavender leaf leafy
lilac lime magenta maroon mauve metallic multicolor multicolored multicolour multicoloured mustard navy
neon neutral nude olive orange orangey orangish pastel peach pink pinkish plum purple purplish red reddish
redish rose salmon scarlet sea silver sky straw tan taupe teal transparent turquoise violet white whitish
wine yellow yellowish
"""
MODIFIERS = "light dark bright pale deep vivid faded dull pastel neon sky sea navy leaf jet royal blood"
PREFIXES = "half off jet blood multi mid bi"


def _any_of(words: str) -> str:
    """A pattern for any of some words, the longest first."""
    return "(?:" + "|".join(sorted(words.split(), key=len, reverse=True)) + ")"


SHADE = (
    rf"(?:{_any_of(PREFIXES)}-)?(?:{_any_of(MODIFIERS)}(?:ly)?[- ])*"
    rf"(?:[a-z]+-colou?red|{_any_of(WORDS)}(?:[- ]colou?red)?|colou?red)"
)
BETWEEN = r"(?:\s*,\s*(?:and\s+|or\s+)?|\s*[/&]\s*|\s+and\s+|\s+or\s+|-and-|-|\s+)"
COLOURS = re.compile(rf"\b{SHADE}(?:{BETWEEN}{SHADE})*\b", re.IGNORECASE)
REMOVED = "\0"
"""Stands where colours were, so that only what they leave behind is mended."""
TURNS = 4
"""Most words in a row that may be left hanging, as in 'and is in a.'"""
CLEANING = [
    (re.compile(pattern, re.IGNORECASE), instead)
    for pattern, instead in (
        # red-striped -> striped
        (r"\0-(?=\w)", r"\0 "),
        # red in colour -> nothing
        (r"\0\s+(?:in|of)\s+colou?rs?\b", r"\0"),
        # a shirt, red and torn -> a shirt, torn; red, torn shirt -> torn shirt
        (r"([,;]\s*|\band\s+|\bor\s+)\0\s*(?:,|\band\b|\bor\b)\s*", r"\1\0 "),
        (r"^\0\s*,\s*", r"\0 "),
        # a black and a white bag -> a bag
        (r"\ban?\s+\0\s*(?:,|\band\b|\bor\b)\s+(?=an?\s+\0)", ""),
        # black and striped -> striped, but not the list: black and a hat
        (
            r"\b(an?|the|his|her|their|with|in|wearing)\s+\0\s*(?:,|\band\b|\bor\b)\s+(?!an?\b|the\b)",
            r"\1 \0 ",
        ),
    )
]
HANGING = re.compile(
    r"(?:\s+|,\s*)(?:and|or|in|of|with|is|are|was|were|an?|the|mostly|mainly|either|both|that|which)"
    r"\s*\0\s*(?=[.,;:!?]|$|\band\b)",
    re.IGNORECASE,
)
ARTICLE = re.compile(r"\b(an?)(\s*\0\s*)(\w)", re.IGNORECASE)


def find_colours(text: str) -> list[str]:
    """The colours that a text names, in order and in small letters; neighbours are one."""
    return [" ".join(found.group().lower().split()) for found in COLOURS.finditer(text)]


def remove_colours(text: str) -> str:
    """The text without colours and without what they leave behind, such as a comma or 'and'.

    Source: TVI-LFM, generators/demo/color_mover.ipynb. Differs: whole words in any case, all in one pass,
    the longest first; commas between things stay, articles fit what follows them.
    """
    marked, count = COLOURS.subn(REMOVED, text)
    if not count:
        return text
    for pattern, instead in CLEANING:
        marked = pattern.sub(instead, marked)
    for _ in range(TURNS):
        marked = HANGING.sub(REMOVED, marked)
    marked = ARTICLE.sub(_fit_article, marked).replace(REMOVED, " ")
    marked = re.sub(r"\s+([.,;:!?])", r"\1", " ".join(marked.split()))
    marked = re.sub(r"([,;:])(?=[.,;:!?])", "", marked).strip(" ,;:")
    return marked[:1].upper() + marked[1:] if text[:1].isupper() else marked


def _fit_article(found: re.Match[str]) -> str:
    article, gap, letter = found.groups()
    fitting = "an" if letter.lower() in "aeiou" else "a"
    return (fitting.capitalize() if article[0].isupper() else fitting) + gap + letter
