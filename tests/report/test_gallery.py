from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from tpr.data.tables.corpus import Corpus
from tpr.errors import TrainingError
from tpr.evaluation.rankings import Ranking
from tpr.report.gallery import (
    CAPTION_WIDTH,
    EMPTY,
    FRAME,
    HIT,
    MARGIN,
    MISS,
    TILE,
    TITLE_HEIGHT,
    draw_rankings,
    load_font,
    load_tile,
    locate_tile,
    render_rankings,
    row_height,
    wrap_text,
)

TOP = 10  # half a margin above the first title
CAPTION = "A woman in a long red coat walks past with a black bag. " * 4


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    for row in range(4):
        Image.new("RGB", (20 + row, 60), (60 * row, 0, 200)).save(tmp_path / f"{row}.png")
    captions = [["a"]] * 4
    table = pa.table({"image": [f"{row}.png" for row in range(4)], "captions": captions})
    return Corpus("toy", "test", tmp_path, table, np.arange(4), np.arange(5), True, "toy")


def make_ranking(hits: list[bool]) -> Ranking:
    count = len(hits)
    scores = np.linspace(0.9, 0.1, count, dtype=np.float32)
    return Ranking(CAPTION, 1, np.arange(count) % 4, scores, np.array(hits))


def test_hits_are_framed_green_and_misses_red(corpus: Corpus) -> None:
    hits = [[True, False, False, True], [False, True, True, False]]
    pixels = render_rankings({"toy": (corpus, [make_ranking(row) for row in hits])})
    for number, row in enumerate(hits):
        for position, hit in enumerate(row):
            left, top, right, bottom = locate_tile(TOP + TITLE_HEIGHT + number * row_height(), position)
            corners = [(top, left), (top, right - 1), (bottom - 1, left), (bottom - 1, right - 1)]
            assert {tuple(pixels[y, x].tolist()) for y, x in corners} == {HIT if hit else MISS}
            # Inside the frame stands the image of that rank.
            centre = pixels[(top + bottom) // 2, (left + right) // 2]
            assert centre.tolist() == [60 * position, 0, 200]
            assert pixels[(top + bottom) // 2, right + 3].tolist() == [255, 255, 255]


def test_file_is_written_whole(corpus: Corpus, tmp_path: Path) -> None:
    path = tmp_path / "ranking.png"
    sections = {"one": (corpus, [make_ranking([True] * 10)]), "two": (corpus, [make_ranking([False] * 10)])}
    draw_rankings(path, sections)
    with Image.open(path) as image:
        assert image.size == render_rankings(sections).shape[1::-1]
    assert not list(tmp_path.glob("*.partial"))


def test_a_folder_that_cannot_be_written_is_one_clear_line(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="ranking.png: the image cannot be written"):
        draw_rankings(tmp_path / "missing" / "ranking.png", {"toy": (corpus, [make_ranking([True])])})


def test_an_image_that_cannot_be_read_leaves_an_empty_tile(corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "2.png").write_bytes(b"")
    tile = np.asarray(load_tile(corpus, 2, None))
    assert tile.shape == (TILE[1], TILE[0], 3)
    assert np.unique(tile.reshape(-1, 3), axis=0).tolist() == [list(EMPTY)]
    bomb = np.asarray(load_tile(replace(corpus), 1, 100))
    assert np.unique(bomb.reshape(-1, 3), axis=0).tolist() == [list(EMPTY)]


def test_long_captions_are_wrapped_and_cut() -> None:
    font = load_font(14)
    lines = wrap_text(CAPTION, font, 200, 4)
    assert len(lines) == 4 and lines[-1].endswith(" ...")
    assert all(font.getlength(line) <= 200 for line in lines)
    assert wrap_text("two words", font, 200, 4) == ["two words"]
    assert wrap_text("", font, 200, 4) == [""]
    assert all(font.getlength(line) <= 100 for line in wrap_text("x" * 10_000, font, 100, 5))
    assert " ".join(wrap_text(CAPTION, font, 200, 99)) == CAPTION.strip()


def test_the_image_that_searched_stands_on_the_left_with_its_text_beside_it(corpus: Corpus) -> None:
    silent = replace(make_ranking([True]), caption="")
    imaged = replace(silent, query=3)
    spoken = replace(imaged, caption=CAPTION)
    plain, shown, both = (
        render_rankings({"toy": (corpus, [ranking])}) for ranking in (silent, imaged, spoken)
    )
    middle = TOP + TITLE_HEIGHT + FRAME + TILE[1] // 2
    assert shown[middle, MARGIN + TILE[0] // 2].tolist() == [180, 0, 200]
    assert plain[middle, MARGIN + TILE[0] // 2].tolist() == [255, 255, 255]
    beside = np.s_[:, MARGIN + TILE[0] + FRAME : MARGIN + CAPTION_WIDTH]
    assert np.array_equal(shown[:, : MARGIN + TILE[0]], both[:, : MARGIN + TILE[0]])
    assert (both[beside] < 100).all(axis=2).any()
