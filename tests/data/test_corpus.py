import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.data.small_sets import choose, list_rows, load, make_options, write_cuhk, write_jsonl
from tpr.data.tables import corpus as corpus_module
from tpr.data.tables.corpora import load_split
from tpr.data.tables.corpus import Corpus, join, number_identities, offsets_of
from tpr.errors import DataError


def write_many(root: Path, folder: str = "mine", images: int = 200) -> None:
    """Images 0..n-1 of identity n // 4 with n % 3 captions each."""
    lines = [
        {
            "image": f"{n}.jpg",
            "identity": 100 - n // 4,
            "captions": [f"{folder} {n} {k}" for k in range(n % 3)],
        }
        for n in range(images)
    ]
    write_jsonl(root / folder / "people.jsonl", lines)


def load_many(root: Path, folder: str = "mine") -> Corpus:
    return load(root, "jsonl", path=Path(folder))


def test_captions_and_owners_of_every_image(tmp_path: Path) -> None:
    write_many(tmp_path, images=5)
    corpus = load_many(tmp_path)
    assert corpus.caption_offsets.tolist() == [0, 0, 1, 3, 3, 4]
    assert corpus.caption_owners().tolist() == [1, 2, 2, 4]
    assert corpus.caption_count == 4
    assert (len(corpus), corpus.identity_count) == (5, 2)


def test_identities_are_numbered_in_ascending_order() -> None:
    assert number_identities(np.array([40, -1, 7, 40])).tolist() == [2, 0, 1, 2]


@pytest.mark.parametrize("mapped_runs", [4096, 0])
@pytest.mark.parametrize("rows", [[3, 4, 5, 9], [9, 3, 3, 150], [], list(range(0, 200, 2))])
def test_a_selection_shows_its_rows_whether_mapped_or_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[int], mapped_runs: int
) -> None:
    monkeypatch.setattr(corpus_module, "MAPPED_RUNS", mapped_runs)
    write_many(tmp_path)
    corpus = load_many(tmp_path)
    chosen = corpus.select(np.array(rows, dtype=np.int64))
    assert [(chosen.image_path(n), chosen.captions(n)) for n in range(len(chosen))] == [
        (corpus.image_path(row), corpus.captions(row)) for row in rows
    ]
    assert chosen.caption_offsets.tolist() == offsets_of(chosen.table.column("captions")).tolist()
    assert chosen.identity.tolist() == number_identities(corpus.identity[rows]).tolist()
    assert chosen.fingerprint != corpus.fingerprint


def test_an_evaluation_selection_keeps_identities(tmp_path: Path) -> None:
    write_many(tmp_path)
    corpus = load_many(tmp_path)
    rows = np.array([0, 8])
    assert corpus.select(rows, split="val").identity.tolist() == corpus.identity[rows].tolist()


def test_a_selection_of_runs_copies_no_text(tmp_path: Path) -> None:
    write_many(tmp_path)
    corpus = load_many(tmp_path)
    chosen = corpus.select(np.array([5, 6, 7, 20]))
    first = corpus.table.column("image").chunk(0).buffers()[2].address
    assert {chunk.buffers()[2].address for chunk in chosen.table.column("image").chunks} == {first}


@pytest.mark.parametrize("selected", [False, True])
def test_a_pickled_corpus_maps_its_files_again(tmp_path: Path, selected: bool) -> None:
    write_many(tmp_path)
    corpus = load_many(tmp_path)
    if selected:
        corpus = corpus.select(np.arange(10, 100, 3)).select(np.array([4, 2]))
    sent = pickle.dumps(corpus)
    assert b"mine 1 0" not in sent
    assert list_rows(pickle.loads(sent)) == list_rows(corpus)


@pytest.mark.parametrize("selected", [False, True])
def test_joined_corpora_follow_one_another(tmp_path: Path, selected: bool) -> None:
    write_many(tmp_path, images=8)
    write_cuhk(tmp_path)
    first, second = load_many(tmp_path), load(tmp_path, "cuhk_pedes")
    if selected:
        first = first.select(np.array([6, 7, 1]))
    both = join([first, second])
    assert both.name == "mine+cuhk_pedes"
    images = [image for image, _, _ in list_rows(first) + list_rows(second)]
    assert [image for image, _, _ in list_rows(both)] == images
    shift = first.identity_count
    assert both.identity.tolist() == [*first.identity, *(second.identity + shift)]
    assert both.caption_offsets.tolist() == offsets_of(both.table.column("captions")).tolist()
    assert list_rows(pickle.loads(pickle.dumps(both))) == list_rows(both)


def test_corpora_below_different_roots_are_not_joined(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_cuhk(tmp_path / name)
    with pytest.raises(DataError, match="joined datasets must share one data root"):
        join([load(tmp_path / "a", "cuhk_pedes"), load(tmp_path / "b", "cuhk_pedes")])


def test_index_arrays_give_torch_no_reason_to_warn(tmp_path: Path) -> None:
    import torch

    write_cuhk(tmp_path)
    corpus = load_split(choose("cuhk_pedes"), "train", make_options(tmp_path))
    assert torch.from_numpy(corpus.identity).tolist() == [1, 0, 1]
