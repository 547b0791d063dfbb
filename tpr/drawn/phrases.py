"""Phrases: one person's visible details in one annotator's words."""

import random
from dataclasses import dataclass

from tpr.drawn.annotators import Annotator
from tpr.drawn.people import Person
from tpr.drawn.views import View
from tpr.drawn.vocabulary import PLURAL, SLOTS

ACTIONS = {
    "front": ("walking towards the camera", "walking forward", "facing the camera"),
    "back": ("walking away from the camera", "walking with the back to us", "facing away"),
    "left": ("walking to the left", "facing left"),
    "right": ("walking to the right", "facing right"),
}
AGES = {
    "child": ("little", "young"),
    "young": ("young",),
    "adult": ("middle-aged", "adult"),
    "old": ("elderly", "old"),
}


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text; attribute words come from a value that a person has, or wrongly has not."""

    text: str
    is_attribute: bool = False
    is_wrong: bool = False


class Speaker:
    """Says one image's details; draws from `source` what to mention and how."""

    def __init__(self, person: Person, view: View, annotator: Annotator, source: random.Random) -> None:
        self.person = person
        self.view = view
        self.annotator = annotator
        self.source = source

    def say(self, slot: str, value: str) -> tuple[Piece, str]:
        """The value in the annotator's words, and the value that was said: another one by mistake."""
        table = SLOTS[slot]
        is_wrong = self.source.random() < self.annotator.wrong_words
        if is_wrong:
            value = self.source.choice([other for other in table if other != value])
        dialect = self.annotator.dialect if self.source.random() < self.annotator.own_words else "shared"
        return Piece(self.source.choice(table[value][dialect]), True, is_wrong), value

    def mentions(self, detail: str) -> bool:
        """Whether the annotator speaks of this detail now."""
        return self.source.random() < self.annotator.mentions[detail]

    def details(self) -> dict[str, list[Piece]]:
        """Slot -> phrase, for everything that is visible and mentioned."""
        builders = {
            "U": self.upper,
            "L": self.lower,
            "F": self.shoes,
            "H": self.hair,
            "A": self.accessories,
            "B": self.belongings,
            "V": self.action,
        }
        said = {slot: build() for slot, build in builders.items() if self.mentions(slot)}
        said = {slot: phrase for slot, phrase in said.items() if phrase}
        if "U" in said:
            said["C"] = [*said["U"], Piece(" and "), *said["L"]] if "L" in said else said["U"]
        return said

    def subject(self, slot: str) -> list[Piece]:
        """The person ([S]) or a pronoun ([P], [p])."""
        male = self.person.gender == "man"
        if slot == "P":
            return [Piece("he" if male else "she")]
        if slot == "p":
            return [Piece("his" if male else "her")]
        child = {"man": "boy", "woman": "girl"}[self.person.gender]
        noun, _ = self.say("person", child if self.person.age == "child" else self.person.gender)
        words = [noun]
        if self.source.random() < self.annotator.ages:
            words.insert(0, Piece(self.source.choice(AGES[self.person.age])))
        determiner = self.source.choice(self.annotator.determiners).lower()
        return self._noun_phrase(words, determiner)

    def upper(self) -> list[Piece]:
        """Colour, sleeves, pattern and kind of the upper garment, and what is under an open one."""
        person = self.person
        kind, said = self.say("upper", person.upper)
        words = self._colour(person.upper_colour)
        if person.pattern != "plain" and self.mentions("pattern"):
            if words and person.pattern in ("striped", "plaid", "two-tone", "dotted"):
                words += [Piece("and"), *self._colour(person.pattern_colour)]
            words.append(self.say("pattern", person.pattern)[0])
        if self.mentions("sleeve"):
            words.append(self.say("sleeve", person.sleeve)[0])
        phrase = self._noun_phrase([*words, kind], None if said in PLURAL else "a")
        if person.inner_colour != "none" and self.view.facing != "back" and self.mentions("pattern"):
            inner = self._noun_phrase([*self._colour(person.inner_colour), Piece("shirt")], "a")
            phrase += [Piece(" over "), *inner]
        return phrase

    def lower(self) -> list[Piece]:
        """Colour and kind of the lower garment."""
        if self.person.lower == "none":
            return []
        return self._thing("lower", self.person.lower, self.person.lower_colour)

    def shoes(self) -> list[Piece]:
        """Colour and kind of the shoes, unless something stands before them."""
        if self.view.occluder == "car":
            return []
        return self._thing("shoes", self.person.shoes, self.person.shoe_colour)

    def hair(self) -> list[Piece]:
        """Style and colour of the hair."""
        style, _ = self.say("hair", self.person.hair)
        before, tilde, after = style.text.partition("~")
        if not tilde:
            return [style]
        colour = [self.say("hair colour", self.person.hair_colour)[0]] if self.annotator.sees_colours else []
        article = "a" if before.startswith("a ") else None
        before, after = before.removeprefix("a ").rstrip(), after.strip()
        pieces = [Piece(before, True, style.is_wrong), *colour, Piece(after, True, style.is_wrong)]
        return self._noun_phrase([piece for piece in pieces if piece.text], article)

    def accessories(self) -> list[Piece]:
        """Hat, glasses and scarf."""
        person, phrases = self.person, []
        if person.hat != "none":
            phrases.append(self._thing("hat", person.hat, person.hat_colour))
        if person.glasses != "none" and self.view.facing != "back":
            phrases.append(self._noun_phrase([self.say("glasses", person.glasses)[0]], None))
        if person.scarf_colour != "none":
            phrases.append(self._noun_phrase([*self._colour(person.scarf_colour), Piece("scarf")], "a"))
        return self._list(phrases)

    def belongings(self) -> list[Piece]:
        """Bag, and what is in the hand."""
        person, phrases = self.person, []
        if person.bag != "none":
            phrases.append(self._thing("bag", person.bag, person.bag_colour))
        if person.carried != "none" and self.source.random() < 0.5:
            phrases.append(self._noun_phrase([self.say("carried", person.carried)[0]], "a"))
        return self._list(phrases)

    def action(self) -> list[Piece]:
        """Where the person goes, as seen."""
        return [Piece(self.source.choice(ACTIONS[self.view.facing]))]

    def _thing(self, slot: str, value: str, colour: str) -> list[Piece]:
        noun, said = self.say(slot, value)
        return self._noun_phrase([*self._colour(colour), noun], None if said in PLURAL else "a")

    def _colour(self, colour: str) -> list[Piece]:
        """The colour's word; none from an annotator who sees no colours."""
        return [self.say("colour", colour)[0]] if self.annotator.sees_colours else []

    def _list(self, phrases: list[list[Piece]]) -> list[Piece]:
        joined: list[Piece] = []
        for number, phrase in enumerate(phrases):
            joined += (
                phrase if number == 0 else [Piece(" and " if number == len(phrases) - 1 else ", "), *phrase]
            )
        return joined

    def _noun_phrase(self, words: list[Piece], article: str | None) -> list[Piece]:
        """Words with blanks between them; the article "a" becomes "an" before a vowel."""
        if (
            article == "a"
            and words[0].text.startswith(("a", "e", "i", "o", "um"))
            and words[0].text != "one-piece"
        ):
            article = "an"
        pieces = [Piece(f"{article} ")] if article else []
        for number, word in enumerate(words):
            pieces += [Piece(" "), word] if number else [word]
        return pieces
