"""What is to be drawn: images with their people and views, and annotation files. Planning draws nothing."""

import io
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tpr.drawn.annotators import Annotator
from tpr.drawn.cameras import Camera
from tpr.drawn.captions import DrawnCaption, describe
from tpr.drawn.people import Person, draw_person
from tpr.drawn.views import View, draw_view


@dataclass(frozen=True, slots=True)
class Shot:
    """One image to draw."""

    path: str
    """Below the dataset's folder, with forward slashes."""
    identity: int
    person: Person
    view: View
    camera: str


@dataclass(frozen=True)
class Plan:
    """One dataset, ready to be drawn."""

    folder: str
    shots: Sequence[Shot]
    files: Mapping[str, Any]
    """Path below the folder -> what its JSON says; an array for .npy, lines for .txt."""
    captions: int
    identities: int | None
    """People, None where the dataset has no labels."""
    examples: Mapping[str, str] = field(default_factory=dict)
    """Image path -> a caption, for a sheet; empty where the files tell."""

    def encoded_files(self) -> Iterator[tuple[str, bytes]]:
        """Each annotation file's path and content."""
        for path, value in self.files.items():
            if path.endswith(".npy"):
                buffer = io.BytesIO()
                np.save(buffer, value, allow_pickle=False)
                yield path, buffer.getvalue()
            elif path.endswith(".txt"):
                yield path, "".join(f"{line}\n" for line in value).encode()
            else:
                yield path, json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


@dataclass(frozen=True)
class Studio:
    """The randomness of one dataset: every stream is a function of seed, name, purpose and numbers alone."""

    set_name: str
    seed: int
    names: random.Random = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", self.stream("names"))

    def stream(self, *purpose: object) -> random.Random:
        """A generator of its own for this purpose."""
        return random.Random("/".join(map(str, (self.seed, self.set_name, *purpose))))

    def person(self, identity: int) -> Person:
        """The person with this number."""
        return draw_person(self.stream("person", identity))

    def view(self, cameras: Sequence[Camera], image: int) -> tuple[Camera, View]:
        """A camera and a view for this image, whoever is in it."""
        source = self.stream("view", image)
        camera = source.choice(tuple(cameras))
        return camera, draw_view(camera, source)

    def numbers(self, count: int, spread: int = 3) -> list[int]:
        """Distinct numbers for file names, in no order and with gaps."""
        return self.names.sample(range(count * spread), count)

    def caption(self, shot: Shot, annotator: Annotator, image: int, number: int) -> DrawnCaption:
        """Caption `number` of an image."""
        return describe(shot.person, shot.view, annotator, self.stream("caption", image, number))
