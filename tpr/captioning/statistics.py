"""What the captions of a plan are like: lengths, openings, slots that they mention, distinct n-grams.

Bounded memory: lengths and openings are counted over all captions, n-grams over the first ones of the shards.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tpr.captioning.plan import CaptionPlan
from tpr.captioning.shards import read_markers, read_parts
from tpr.captioning.texts import SLOTS
from tpr.errors import DataError

OPENING_WORDS = 2
MOST_OPENINGS = 100_000
"""Openings that are counted each; later new ones are counted together."""
MOST_CAPTIONS = 100_000
"""Captions that n-grams are counted over."""
SIZES = (1, 2, 3)
WORD = re.compile(r"[a-z0-9]+(?:['-][a-z0-9]+)*")
MENTIONS = {
    "clothing": "shirt t-shirt blouse top jacket coat sweater hoodie vest dress skirt suit trousers pants "
    "jeans shorts leggings uniform clothes clothing outfit cardigan jumper robe sweatshirt",
    "footwear": "shoe shoes sneakers boots boot sandals heels slippers footwear trainers loafers flats",
    "hair": "hair hairstyle ponytail bald braid braids bun bangs haired hairdo",
    "accessory": "hat cap scarf glasses sunglasses watch belt necklace earrings bracelet gloves mask helmet "
    "tie headphones ring jewelry jewellery wristband headband",
    "belongings": "bag backpack handbag purse suitcase umbrella phone briefcase basket bottle book rucksack "
    "tote luggage stroller bicycle pram satchel shopping",
}
PATTERNS = {
    slot: re.compile(rf"\b(?:{'|'.join(map(re.escape, words.split()))})\b", re.IGNORECASE)
    for slot, words in MENTIONS.items()
}


@dataclass
class Statistics:
    """Counts over the captions of one kind."""

    captions: int = 0
    lengths: Counter[int] = field(default_factory=Counter)
    openings: Counter[str] = field(default_factory=Counter)
    slots: Counter[str] = field(default_factory=Counter)
    grams: dict[int, set[int]] = field(default_factory=lambda: {size: set() for size in SIZES})
    gram_totals: Counter[int] = field(default_factory=Counter)

    def add(self, text: str, *, with_grams: bool) -> None:
        """Count one caption."""
        words = WORD.findall(text.lower())
        self.captions += 1
        self.lengths[len(text.split())] += 1
        opening = " ".join(words[:OPENING_WORDS])
        if opening not in self.openings and len(self.openings) >= MOST_OPENINGS:
            opening = "(others)"
        self.openings[opening] += 1
        self.slots.update(slot for slot, pattern in PATTERNS.items() if pattern.search(text))
        if with_grams:
            for size in SIZES:
                found = [hash(tuple(words[i : i + size])) for i in range(len(words) - size + 1)]
                self.grams[size].update(found)
                self.gram_totals[size] += len(found)

    def quantile(self, share: float) -> int:
        """The length that this share of captions does not exceed."""
        seen = 0
        for length in sorted(self.lengths):
            seen += self.lengths[length]
            if seen >= share * self.captions:
                return length
        return 0

    @property
    def mean_length(self) -> float:
        """Mean number of words."""
        return sum(length * count for length, count in self.lengths.items()) / max(1, self.captions)

    def coverage(self, slot: str) -> float:
        """Share of captions that mention a slot."""
        return self.slots[slot] / max(1, self.captions)

    def distinct(self, size: int) -> float:
        """Share of n-grams that are distinct, over the captions that were looked at."""
        return len(self.grams[size]) / max(1, self.gram_totals[size])


def measure_statistics(plan: CaptionPlan) -> dict[str, Statistics]:
    """Statistics by kind of caption. Raises DataError before the first shard is done."""
    kinds = {view.name: view.kind for view in plan.views}
    found = {kind: Statistics() for kind in plan.settings.captions}
    counted: Counter[str] = Counter()
    for view, text in walk_captions(plan):
        kind = kinds[view]
        counted[kind] += 1
        found[kind].add(text, with_grams=counted[kind] <= MOST_CAPTIONS // len(found))
    found = {kind: statistics for kind, statistics in found.items() if statistics.captions}
    if not found:
        raise DataError(f"{plan.folder}: no caption is finished yet; `tpr caption run` goes on")
    return found


def walk_captions(plan: CaptionPlan) -> Iterator[tuple[str, str]]:
    """View and text of every finished caption."""
    for marker in read_markers(plan):
        for row in read_parts(plan, marker.shard, ("view", "caption")):
            yield row["view"], row["caption"]


def list_rows(found: dict[str, Statistics]) -> list[list[str]]:
    """One table row per kind: see `HEADER`."""
    return [
        [
            kind,
            f"{one.captions:,}",
            f"{one.mean_length:.1f}",
            f"{one.quantile(0.05)} / {one.quantile(0.5)} / {one.quantile(0.95)}",
            *(f"{one.coverage(slot):.0%}" for slot in SLOTS),
            " / ".join(f"{one.distinct(size):.3f}" for size in SIZES),
            f"{one.openings.most_common(1)[0][0]} {one.openings.most_common(1)[0][1] / one.captions:.0%}",
        ]
        for kind, one in found.items()
    ]


HEADER = ["kind", "captions", "words", "5 / 50 / 95 %", *SLOTS, "distinct 1 / 2 / 3", "first opening"]
