"""Captions of a finished plan as what another plan rephrases."""

from collections.abc import Iterator
from pathlib import Path

from tpr.captioning.forms import choose_view
from tpr.captioning.listing import ListedImage, Source
from tpr.captioning.merge import Merge
from tpr.captioning.plan import read_plan


def plan_source(folder: Path, view: str | None) -> Source:
    """The captions of one view of a finished plan, an image without one left out.

    view: needed where images have several captions. Raises UserError where the plan is not finished.
    """
    plan = read_plan(folder)
    merge = Merge(plans=[plan], out=folder, view=view).check()
    name = choose_view(merge)

    def walk() -> Iterator[ListedImage]:
        for entry, captions in merge.images():
            for caption in captions:
                if caption.view == name:
                    yield ListedImage(entry.image, entry.identity, text=caption.text)

    words = {"plan": plan.fingerprint, "view": name, "of": plan.source, "rephrases": True}
    return Source(plan.root, words, walk)
