"""ranking.png: queries with their best images in rank order, hits framed green and misses red."""

import io
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from tpr.data.images.reader import decode, read_bytes
from tpr.data.tables.corpus import Corpus
from tpr.errors import DataError, TrainingError
from tpr.evaluation.rankings import Ranking
from tpr.whole_files import write_whole

HIT = (34, 139, 74)
MISS = (200, 45, 45)
INK = (30, 30, 34)
FAINT = (120, 120, 126)
PAPER = (255, 255, 255)
EMPTY = (238, 238, 240)

TILE = (84, 200)
"""Width and height of the box that an image is fitted into."""
FRAME = 4
GAP = 12
CAPTION_WIDTH = 330
LABEL_HEIGHT = 20
MARGIN = 20
TITLE_HEIGHT = 40

Section = tuple[Corpus, Sequence[Ranking]]


def draw_rankings(path: Path, sections: Mapping[str, Section], *, max_pixels: int | None = None) -> None:
    """Write the image of `render_rankings` whole or not at all. Raises TrainingError if it cannot be."""
    image = Image.fromarray(render_rankings(sections, max_pixels=max_pixels))
    encoded = io.BytesIO()
    image.save(encoded, format="PNG")
    try:
        write_whole(path, encoded.getvalue())
    except OSError as error:
        raise TrainingError(
            f"{path}: the image cannot be written ({error.strerror}); free or unlock the folder"
        ) from error


def render_rankings(
    sections: Mapping[str, Section], *, max_pixels: int | None = None
) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8: under each dataset's title a row per query, its image or caption or both on the left.

    max_pixels: images with more are shown as an empty box, as those that cannot be read.
    """
    columns = max((len(ranking.rows) for _, rankings in sections.values() for ranking in rankings), default=1)
    height = MARGIN + sum(TITLE_HEIGHT + len(rankings) * row_height() for _, rankings in sections.values())
    width = MARGIN + CAPTION_WIDTH + columns * column_width() + MARGIN
    sheet = Image.new("RGB", (width, height), PAPER)
    drawing = ImageDraw.Draw(sheet)
    top = MARGIN // 2
    for title, (corpus, rankings) in sections.items():
        drawing.text((MARGIN, top + 8), title, INK, load_font(18, bold=True))
        top += TITLE_HEIGHT
        for ranking in rankings:
            _draw_row(sheet, top, corpus, ranking, max_pixels)
            top += row_height()
    return np.asarray(sheet)


def row_height() -> int:
    """Pixels from one query's row to the next."""
    return TILE[1] + 2 * FRAME + LABEL_HEIGHT + GAP


def column_width() -> int:
    """Pixels from one rank's image to the next."""
    return TILE[0] + 2 * FRAME + GAP


def locate_tile(top: int, position: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the framed box of rank `position` (from 0) in the row at `top`."""
    left = MARGIN + CAPTION_WIDTH + position * column_width()
    return left, top, left + TILE[0] + 2 * FRAME, top + TILE[1] + 2 * FRAME


def _draw_row(sheet: Image.Image, top: int, corpus: Corpus, ranking: Ranking, max_pixels: int | None) -> None:
    drawing = ImageDraw.Draw(sheet)
    drawing.line((MARGIN, top - GAP // 2, sheet.width - MARGIN, top - GAP // 2), EMPTY)
    font = load_font(14)
    indent = 0 if ranking.query is None else TILE[0] + GAP
    if ranking.query is not None:
        sheet.paste(load_tile(corpus, ranking.query, max_pixels), (MARGIN, top + FRAME))
    lines = wrap_text(ranking.caption, font, CAPTION_WIDTH - 2 * GAP - indent, (TILE[1] - 6) // 19)
    for number, line in enumerate(lines):
        drawing.text((MARGIN + indent, top + 4 + 19 * number), line, INK, font)
    found = int(ranking.hits.sum())
    summary = f"{found} of the first {len(ranking.hits)} show the person"
    drawing.text((MARGIN, top + TILE[1] + 2 * FRAME + 3), summary, FAINT, load_font(11))
    for position, (row, score, hit) in enumerate(
        zip(ranking.rows.tolist(), ranking.scores.tolist(), ranking.hits.tolist(), strict=True)
    ):
        left, upper, right, lower = locate_tile(top, position)
        colour = HIT if hit else MISS
        drawing.rectangle((left, upper, right - 1, lower - 1), colour)
        sheet.paste(load_tile(corpus, row, max_pixels), (left + FRAME, upper + FRAME))
        drawing.text((left + 2, lower + 3), f"{position + 1}", colour, load_font(12, bold=True))
        text = f"{score:.3f}"
        drawing.text((right - load_font(11).getlength(text) - 2, lower + 4), text, FAINT, load_font(11))


def load_tile(corpus: Corpus, row: int, max_pixels: int | None) -> Image.Image:
    """One image fitted whole into a tile; an empty tile where it cannot be read."""
    tile = Image.new("RGB", TILE, EMPTY)
    try:
        data = read_bytes(corpus, row)
        pixels = decode(data) if max_pixels is None else decode(data, max_pixels=max_pixels)
    except DataError:
        return tile
    image = Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()))
    scale = min(TILE[0] / image.width, TILE[1] / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    image = image.resize(size, Image.Resampling.LANCZOS)
    tile.paste(image, ((TILE[0] - size[0]) // 2, (TILE[1] - size[1]) // 2))
    return tile


def wrap_text(text: str, font: ImageFont.FreeTypeFont, width: int, lines: int) -> list[str]:
    """The text in at most `lines` lines of `width` pixels; a longer one ends with three dots."""
    wrapped: list[str] = []
    line = ""
    for word in " ".join(text.split()).split(" "):
        for piece in _break_word(word, font, width):
            joined = f"{line} {piece}" if line else piece
            if font.getlength(joined) <= width:
                line = joined
                continue
            wrapped.append(line)
            line = piece
            if len(wrapped) == lines:
                return [*wrapped[:-1], _shorten(wrapped[-1], font, width)]
    return [*wrapped, line]


def _break_word(word: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """A word in pieces that fit; nearly always one piece."""
    pieces = [""]
    for letter in word[:500]:
        if pieces[-1] and font.getlength(pieces[-1] + letter) > width:
            pieces.append("")
        pieces[-1] += letter
    return pieces


def _shorten(line: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    while line and font.getlength(f"{line} ...") > width:
        line = line[:-1]
    return f"{line.rstrip()} ..."


@cache
def load_font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along on every machine."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)
