"""LUPerson-MLLM: 1.0 M crops of LUPerson with four machine captions each, no identities.

Source: Tan et al., Harnessing the Power of MLLMs for Transferable Text-to-Image Person ReID, CVPR 2024.
Files: images flat in LUPerson-MLLM/ or LUPerson-MLLM/images/, and four objects {image name: caption},
read in the order Ts-qwen, Td-qwen, Ts-shikra, Td-shikra (s static, d dynamic instruction). They are looked
for in the folder that the option `captions` names, in `captions/` where the run starts, in
LUPerson-MLLM/captions/ and next to the images.

Repair, as published: a caption with an unfilled slot ('description]') or mark-up ('<') is replaced by a
random static caption of the same image that has neither, and kept where there is none.
"""

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tpr.data.adapters.annotations import check_path, describe, quote, read_pairs, refuse
from tpr.data.adapters.base import Adapter, Counts, SubsetOptions
from tpr.data.samples.sample import Sample, Split

FILES = ("Ts-qwen.json", "Td-qwen.json", "Ts-shikra.json", "Td-shikra.json")
BAD_MARKS = ("description]", "<")
FIRST_KEY = re.compile(r'\s*\{\s*("(?:[^"\\]|\\.)*")')


class LupersonMllm(Adapter):
    """LUPerson-MLLM with its four caption files."""

    @dataclass(frozen=True, kw_only=True)
    class Options(SubsetOptions):
        """Options of LUPerson-MLLM."""

        captions: Path | None = None
        """Folder of the caption files, from where the run starts or below the data root; absent: search."""
        files: tuple[str, ...] = FILES
        """Caption files to read, in this order; a name that starts with Ts holds static captions."""
        complete_only: bool = False
        """Only images with a caption in every file."""

    name = "luperson_mllm"
    folders = ("LUPerson-MLLM", "LUPerson_MLLM", "LUPerson")
    layout = (
        "LUPerson-MLLM/{*.jpg or images/, captions/{Ts,Td}-{qwen,shikra}.json} (or captions in ./captions/)"
    )
    counts = {"train": Counts(None, 1_008_000, 4_032_000, exact=False)}

    def sources(self, root: Path) -> list[Path]:
        """The caption files."""
        folder = self.caption_folder(root)
        missing = [name for name in self.options.files if not (folder / name).is_file()]
        if missing:
            raise self.not_found(folder / missing[0], root)
        return [folder / name for name in self.options.files]

    def describe_state(self, root: Path) -> list[str]:
        """The folder of the images."""
        return [self.image_folder(root)]

    def parse(self, root: Path) -> Iterator[tuple[Split, Sample]]:
        """Images sorted by name, captions in the order of the files."""
        self.has_identities = False
        base = self.image_folder(root)
        sources = self.sources(root)
        columns = []
        for path in sources:
            captions, repeated = read_captions(path)
            columns.append(captions)
            if repeated:
                self.notes.append(
                    f"{path}: {repeated:,} images come again; the last caption counts, as published"
                )
        static = [path.name.startswith("Ts") for path in sources]
        repaired = 0
        for number, name in enumerate(sorted(set().union(*columns))):
            found = [
                (column[name], kind) for column, kind in zip(columns, static, strict=True) if name in column
            ]
            if self.options.complete_only and len(found) < len(columns):
                continue
            texts, changed = repair(found, f"{self.options.seed}/{name}")
            repaired += changed
            yield "train", Sample(f"{base}/{name}", number, texts)
        if repaired:
            self.notes.append(
                f"{repaired:,} captions with unfilled slots or mark-up were replaced by static ones"
            )

    def image_folder(self, root: Path) -> str:
        """Folder of the images below the root, with forward slashes."""
        folder = self.folder(root)
        return f"{folder.name}/images" if (folder / "images").is_dir() else folder.name

    def caption_folder(self, root: Path) -> Path:
        """The folder of the caption files, by the rule in the module's docstring."""
        folder = self.folder(root)
        images = root / self.image_folder(root)
        chosen: Path | None = self.options.captions
        if chosen is not None:
            places = [chosen, root / chosen]
        else:
            places = [Path("captions"), folder / "captions", images, folder]
        holding = [place for place in places if any((place / name).is_file() for name in self.options.files)]
        if not holding:
            raise self.not_found((places[0] if chosen else folder / "captions") / self.options.files[0], root)
        if len(holding) == 1:
            return holding[0]
        # The caption files of another collection may lie in the start folder: the first image tells.
        return next((place for place in holding if self.names_images(place, images)), holding[0])

    def names_images(self, place: Path, images: Path) -> bool:
        """Whether the first image named by the caption files there exists."""
        path = next(place / name for name in self.options.files if (place / name).is_file())
        try:
            with path.open(encoding="utf-8-sig", errors="replace") as file:
                match = FIRST_KEY.match(file.read(4096))
            return match is not None and (images / last_part(json.loads(match[1], strict=False))).is_file()
        except (OSError, ValueError):
            return False


def last_part(name: str) -> str:
    """The file name of a key that may carry folders."""
    return name.replace("\\", "/").rsplit("/", 1)[-1]


def read_captions(path: Path) -> tuple[dict[str, str], int]:
    """Captions by file name, and how many a later one replaced.

    Older files hold lists, of which the last element counts.
    """
    captions: dict[str, str] = {}
    pairs = read_pairs(path, "{image name: caption}")
    for key, value in pairs:
        caption = value[-1] if isinstance(value, list) and value else value
        if not isinstance(caption, str):
            raise refuse(path, f"image {quote(key)}: the caption must be a string, found {describe(value)}")
        captions[check_path(last_part(key), f"{path}: image {quote(key)}")] = caption
    return captions, len(pairs) - len(captions)


def is_bad(caption: str) -> bool:
    """Whether a slot was left unfilled or mark-up was left over."""
    return any(mark in caption for mark in BAD_MARKS)


def repair(found: list[tuple[str, bool]], key: str) -> tuple[tuple[str, ...], int]:
    """Captions with bad ones replaced, and how many were. found: (caption, is static); key: of the draw."""
    captions = [caption for caption, _ in found]
    bad = [number for number, caption in enumerate(captions) if is_bad(caption)]
    static = [caption for caption, is_static in found if is_static and not is_bad(caption)]
    if not bad or not static:
        return tuple(captions), 0
    for number in bad:
        captions[number] = random.Random(f"{key}/{number}").choice(static)
    return tuple(captions), len(bad)
