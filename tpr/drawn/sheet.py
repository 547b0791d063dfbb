"""A contact sheet: a row of images per dataset with a caption under each."""

import io
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from tpr.drawn.images import draw_image
from tpr.drawn.layouts import FOLDERS, PLANNERS
from tpr.drawn.plan import Plan, Shot

CELL_WIDTH, IMAGE_HEIGHT, TEXT_HEIGHT, MARGIN, TITLE_HEIGHT = 132, 232, 128, 12, 26
COLUMNS, LINES, LETTERS = 8, 9, 26
INK, PAPER, SOFT = (40, 42, 48), (250, 249, 246), (110, 112, 118)


def write_sheet(path: Path, sets: Sequence[str], *, seed: int = 0, columns: int = COLUMNS) -> None:
    """Draw a few images of each dataset anew and write them with their captions as one PNG."""
    row_height = TITLE_HEIGHT + IMAGE_HEIGHT + TEXT_HEIGHT
    size = (columns * (CELL_WIDTH + MARGIN) + MARGIN, len(sets) * row_height + MARGIN)
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    title, small = ImageFont.load_default(15), ImageFont.load_default(10)
    for row, name in enumerate(sets):
        plan = PLANNERS[name](columns, seed)
        top = MARGIN + row * row_height
        draw.text((MARGIN, top), FOLDERS[name], fill=INK, font=title)
        for column, (shot, caption) in enumerate(choose_samples(plan, columns)):
            left = MARGIN + column * (CELL_WIDTH + MARGIN)
            _paste(sheet, shot, left, top + TITLE_HEIGHT)
            lines = textwrap.wrap(caption, LETTERS, max_lines=LINES, placeholder=" ...")
            place = (left, top + TITLE_HEIGHT + IMAGE_HEIGHT + 4)
            draw.multiline_text(place, "\n".join(lines), fill=SOFT, font=small, spacing=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def _paste(sheet: Image.Image, shot: Shot, left: int, top: int) -> None:
    with Image.open(io.BytesIO(draw_image(shot.person, shot.view))) as opened:
        image = opened.convert("RGB")
    scale = min(CELL_WIDTH / image.width, IMAGE_HEIGHT / image.height)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    sheet.paste(image, (left + (CELL_WIDTH - image.width) // 2, top))


def choose_samples(plan: Plan, count: int) -> Iterator[tuple[Shot, str]]:
    """People spread over the dataset, two images of each where there are two, each with a caption.

    The second is an infrared one where there are both kinds.
    """
    captions = captions_of(plan)
    people: dict[int, list[Shot]] = {}
    for shot in plan.shots:
        people.setdefault(shot.identity, []).append(shot)
    groups = list(people.values())
    step = max(1, len(groups) // count)
    chosen = [
        shot
        for first, *others in groups[::step]
        for shot in (first, *sorted(others, key=lambda shot: not shot.view.infrared)[:1])
    ]
    for shot in chosen[:count]:
        yield shot, captions[shot.path]


def captions_of(plan: Plan) -> dict[str, str]:
    """Image path -> one of its captions, whatever the dataset's layout."""
    if plan.examples or not plan.captions:
        return {shot.path: plan.examples.get(shot.path, "") for shot in plan.shots}
    found: dict[str, str] = {}
    for value in plan.files.values():
        for path, text in value.items() if isinstance(value, dict) else map(_path_and_text, value):
            if path.endswith(".jpg"):
                found.setdefault(path, text if isinstance(text, str) else text[0])
    return {shot.path: next(found[key] for key in _keys(shot.path) if key in found) for shot in plan.shots}


def _path_and_text(record: dict[str, Any]) -> tuple[str, Any]:
    """Path and captions of a record in any of the published list layouts."""
    path = record.get("file_path") or record.get("img_path") or record["image"]
    return path, record.get("captions") or record["caption"]


def _keys(path: str) -> tuple[str, str, str]:
    """Ways in which annotation files name an image: whole, below its folder, by its name."""
    return path, path.partition("/")[2], path.rpartition("/")[2]
