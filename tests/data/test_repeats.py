"""Images that a set names more than once become one row, whatever the set; contradictions are refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.data.small_infrared import regdb_lines, write_regdb, write_text
from tests.data.small_sets import (
    choose,
    list_rows,
    load,
    make_options,
    write_image,
    write_json,
    write_jsonl,
)
from tpr.data.samples.sample import Sample
from tpr.data.tables import repeats
from tpr.data.tables.check import check_sets
from tpr.data.tables.pack import pack_set
from tpr.data.tables.repeats import join, refuse_shared
from tpr.errors import DataError

LONG, OTHER = "a man in a black coat and blue jeans", "the person wears a black coat over blue jeans today"


def write_synth(root: Path, **changes: Any) -> None:
    record = {"id": 7, "file_path": "Part1/7/0.jpg", "captions": ["a"], "prompt_caption": ["p"]}
    again = {**record, "captions": ["b"], "prompt_caption": []} | changes
    between = {**record, "file_path": "Part1/7/1.jpg"}
    write_json(root / "SYNTH-PEDES/synthpedes-dataset.json", [record, between, again, record])


def write_mals(root: Path, **changes: Any) -> None:
    record = {"image": "gene_crop/4x/1.jpg", "caption": "a", "label": [1, 0, -1] * 9}
    between = {**record, "image": "gene_crop/4x/2.jpg"}
    write_json(root / "MALS/gene_attrs/a.json", [record, between])
    write_json(root / "MALS/gene_attrs/b.json", [{**record, "caption": "b"} | changes, record])


def test_synth_pedes_joins_records_of_one_image(tmp_path: Path) -> None:
    write_synth(tmp_path)
    assert list_rows(load(tmp_path, "synth_pedes")) == [
        ("SYNTH-PEDES/Part1/7/0.jpg", 0, ["a", "p", "b"]),
        ("SYNTH-PEDES/Part1/7/1.jpg", 0, ["a", "p"]),
    ]


def test_mals_joins_records_of_one_image_in_several_files(tmp_path: Path) -> None:
    write_mals(tmp_path)
    corpus = load(tmp_path, "mals")
    assert list_rows(corpus) == [
        ("MALS/gene_crop/4x/1.jpg", 0, ["a", "b"]),
        ("MALS/gene_crop/4x/2.jpg", 1, ["a"]),
    ]
    assert corpus.table.column("attributes").to_pylist() == [[1, 0, -1] * 9] * 2


@pytest.mark.parametrize(
    ("name", "write", "changes", "message"),
    [
        (
            "synth_pedes",
            write_synth,
            {"id": 8},
            "0.jpg' stands in two records, with the identity 7 and with 8",
        ),
        ("mals", write_mals, {"label": [0] * 27}, "1.jpg' stands in two records, with the attributes"),
    ],
)
def test_records_of_one_image_that_differ_are_refused(
    tmp_path: Path, name: str, write: Callable[..., None], changes: dict[str, Any], message: str
) -> None:
    write(tmp_path, **changes)
    with pytest.raises(DataError) as caught:
        load(tmp_path, name)
    assert message in str(caught.value)


def test_ham_pedes_joins_names_that_an_object_or_a_list_repeats(tmp_path: Path) -> None:
    expected = [("SYNTH-PEDES/Part1/1/0.jpg", 0, [LONG, OTHER]), ("SYNTH-PEDES/Part1/1/1.jpg", 1, [LONG])]
    names = ["Part1/1/0.jpg", "Part1/1/1.jpg", "Part1/1/0.jpg"]
    texts = [LONG, LONG, OTHER]
    rows = [{"id": 1, "file_path": name, "captions": [text]} for name, text in zip(names, texts, strict=True)]
    path = write_json(tmp_path / "HAM-PEDES/h.json", rows)
    assert list_rows(load(tmp_path, "ham_pedes")) == expected
    pairs = (f'"{name}": ["{text}"]' for name, text in zip(names, texts, strict=True))
    path.write_text("{" + ", ".join(pairs) + "}")
    assert list_rows(load(tmp_path, "ham_pedes")) == expected


def test_luperson_keeps_the_last_caption_of_a_repeated_name_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("Td-qwen", "Ts-shikra", "Td-shikra"):
        write_json(tmp_path / f"LUPerson-MLLM/captions/{name}.json", {"a.jpg": "x"})
    path = tmp_path / "LUPerson-MLLM/captions/Ts-qwen.json"
    path.write_text('{"a.jpg": "first", "b.jpg": "b", "a.jpg": "second"}')
    with caplog.at_level("INFO"):
        assert load(tmp_path, "luperson_mllm").captions(0)[0] == "second"
    assert f"{path}: 1 images come again; the last caption counts, as published" in caplog.text


def test_a_line_of_an_index_file_that_comes_again_adds_nothing(tmp_path: Path) -> None:
    base = write_regdb(tmp_path)
    before = list_rows(load(tmp_path, "regdb"))
    lines = regdb_lines("Visible", {193: 1, 7: 0})
    write_text(base / "idx/train_visible_1.txt", "\n".join([*lines, lines[0]]))
    assert list_rows(load(tmp_path, "regdb")) == before


def test_captions_that_differ_under_one_name_are_refused(tmp_path: Path) -> None:
    base = write_regdb(tmp_path)
    path = base / "Text/Blip_RGB/caption_llm_dict_Blip_RGB.json"
    texts = {f"{place}/Visible/7/x.bmp": {"description": f"a man {place}"} for place in "ab"}
    write_json(path, texts)
    with pytest.raises(DataError) as caught:
        load(tmp_path, "regdb")
    assert f"{path}: two keys end in 'Visible/7/x.bmp' and have other captions" in str(caught.value)


def test_an_image_in_two_splits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"'regdb': the image 'RegDB/Visible/193/.*' stands in the splits train"
    ):
        base = write_regdb(tmp_path)
        write_text(base / "idx/test_visible_1.txt", regdb_lines("Visible", {193: 0})[0])
        load(tmp_path, "regdb")
    refuse_shared({}, {})


def test_rows_are_joined_over_the_borders_of_what_is_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeats, "ROWS_AT_ONCE", 3)
    lines = [{"image": f"{n * 7 % 10}.jpg", "caption": f"c{n}", "identity": n * 7 % 10} for n in range(40)]
    write_jsonl(tmp_path / "mine/p.jsonl", lines)
    corpus = load(tmp_path, "jsonl", path=Path("mine"))
    expected = [
        (f"mine/{n * 7 % 10}.jpg", n * 7 % 10, [f"c{m}" for m in range(n, 40, 10)]) for n in range(10)
    ]
    assert list_rows(corpus) == expected


def test_joined_rows_agree_in_all_but_captions_and_unknown_cameras() -> None:
    first = Sample("a.jpg", 1, ("x",), -1)
    assert join([first, Sample("a.jpg", 1, ("y",), 3)], has_identities=True) == Sample(
        "a.jpg", 1, ("x", "y"), 3
    )
    assert join([first, Sample("a.jpg", 2, ())], has_identities=False) == first
    for other, fact in (
        (Sample("a.jpg", 2), "identity"),
        (Sample("a.jpg", 1, modality="infrared"), "kind"),
        (Sample("a.jpg", 1, attributes=(1,)), "attributes"),
    ):
        with pytest.raises(DataError, match=f"'a.jpg' stands in two records, with the {fact} .*; correct or"):
            join([first, other], has_identities=True)
    with pytest.raises(DataError, match="with the camera 2 and with 3"):
        join([Sample("a.jpg", 1, (), 2), Sample("a.jpg", 1, (), 3)], has_identities=True)


def test_the_check_tells_images_captions_and_repeats_of_loose_and_packed_sets(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_jsonl(root / "mine/p.jsonl", [{"image": f"{n % 2}.jpg", "caption": f"c{n}"} for n in range(5)])
    for n in range(2):
        write_image(root / f"mine/{n}.jpg", n)
    chosen = choose("jsonl", path=Path("mine"))
    loose = check_sets([chosen], make_options(root))
    assert loose.notes == [
        "mine train: 2 images, 5 captions, 3 repeats (records that name an image again; their captions were "
        "joined to it)"
    ]
    assert not loose.is_broken
    pack_set(chosen, make_options(root), tmp_path / "fast")
    assert check_sets([chosen], make_options(tmp_path / "fast")) == loose
