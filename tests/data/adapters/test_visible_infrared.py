"""SYSU-MM01, RegDB and LLCM in every published form, and what is said where a part is missing or wrong."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.small_infrared import (
    TEST,
    TRAIN,
    VAL,
    regdb_lines,
    sysu_images,
    write_llcm,
    write_regdb,
    write_sysu,
    write_sysu_arrays,
    write_text,
)
from tests.data.small_sets import choose, list_rows, load, make_options, write_image, write_json
from tpr.config.schema import EvaluationOptions
from tpr.config.typed import build_options
from tpr.data.adapters import ADAPTERS, Counts
from tpr.data.images.reader import decode, read_bytes
from tpr.data.samples.modality_tests import list_identity_captions
from tpr.data.samples.views import Views
from tpr.data.samples.visible_infrared import CrossModalitySamples
from tpr.data.tables.check import check_sets, choose_sets
from tpr.data.tables.corpora import load_corpora, load_split
from tpr.data.tables.corpus import Corpus
from tpr.data.tables.pack import pack_set
from tpr.errors import ConfigError, DataError


def kinds(corpus: Corpus) -> list[bool]:
    return corpus.infrared().tolist()


def shorten(corpus: Corpus) -> list[str]:
    """Images without the set's folder."""
    return [corpus.image_path(row).partition("/")[2] for row in range(len(corpus))]


def refuse(root: Path, name: str, split: Any = "train", **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(root, name, split, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_sysu_trains_on_train_and_validation_persons_in_the_order_of_the_published_arrays(
    tmp_path: Path,
) -> None:
    write_sysu(tmp_path)
    corpus = load(tmp_path, "sysu_mm01")
    visible, infrared = sysu_images("RGB", TRAIN + VAL), sysu_images("IR", TRAIN + VAL)
    assert shorten(corpus) == visible + infrared
    assert kinds(corpus) == [False] * len(visible) + [True] * len(infrared)
    assert corpus.cameras().tolist() == [int(image[3]) for image in visible + infrared]
    order = {2: 0, 5: 1, 9: 2}
    assert corpus.identity.tolist() == [order[int(image[5:9])] for image in visible + infrared]
    assert corpus.captions(0) == [f"RGB {visible[0]}", f"again RGB {visible[0]}"]
    assert corpus.captions(len(corpus) - 1) == [f"IR {infrared[-1]}", f"again IR {infrared[-1]}"]
    assert corpus.task.rules == "sysu"


def test_sysu_tests_on_every_image_of_its_test_persons(tmp_path: Path) -> None:
    write_sysu(tmp_path)
    corpus = load(tmp_path, "sysu_mm01", "test")
    assert shorten(corpus) == sysu_images("RGB", TEST) + sysu_images("IR", TEST)
    assert set(corpus.identity.tolist()) == set(TEST)
    described = [row for row in range(len(corpus)) if corpus.captions(row)]
    assert shorten(corpus)[0] == "cam1/0004/0003.jpg"
    assert [corpus.captions(row) for row in described[:2]] == [
        [f"person {p} a", f"person {p} b"] for p in (4, 30)
    ]
    assert [shorten(corpus)[row] for row in described[:2]] == ["cam1/0004/0003.jpg", "cam1/0030/0003.jpg"]
    for row in np.flatnonzero(corpus.infrared()).tolist():
        assert corpus.captions(row) == [f"IR {shorten(corpus)[row]}"]
    pool = list_identity_captions(corpus)
    assert {person: numbers.tolist() for person, numbers in pool.items()} == {4: [0, 1], 30: [2, 3]}


def test_sysu_visible_test_images_have_their_own_captions_where_the_set_has_them(tmp_path: Path) -> None:
    base = write_sysu(tmp_path)
    texts = {
        image: {"description": f"own {image}", "aug_description": "x"} for image in sysu_images("RGB", TEST)
    }
    write_json(base / "Text/Blip_RGB/caption_dict_Blip_RGB.json", texts)
    corpus = load(tmp_path, "sysu_mm01", "test")
    assert corpus.captions(1) == [f"own {shorten(corpus)[1]}"]


def test_sysu_validation_persons_may_be_a_split_of_their_own(tmp_path: Path) -> None:
    write_sysu(tmp_path)
    train = load(tmp_path, "sysu_mm01", validation="own")
    assert shorten(train) == sysu_images("RGB", TRAIN) + sysu_images("IR", TRAIN)
    assert train.captions(0) == ["RGB cam1/0002/0003.jpg", "again RGB cam1/0002/0003.jpg"]
    held = load(tmp_path, "sysu_mm01", "val", validation="own")
    assert shorten(held) == sysu_images("RGB", VAL) + sysu_images("IR", VAL)
    assert set(held.identity.tolist()) == set(VAL)
    assert held.captions(0) == [f"RGB {shorten(held)[0]}"]
    chosen = choose("sysu_mm01", validation="own")
    data = make_options(tmp_path, train=(chosen,))
    corpora = load_corpora(data, EvaluationOptions(select_on="val"), seed=1)
    assert shorten(corpora.val["sysu_mm01"]) == shorten(held)


def test_persons_held_out_of_training_have_descriptions_only(tmp_path: Path) -> None:
    write_sysu(tmp_path)
    data = make_options(tmp_path, train=(choose("sysu_mm01"),))
    corpora = load_corpora(data, EvaluationOptions(select_on="val", held_out=0.3), seed=1)
    assert corpora.train is not None
    held = corpora.val["sysu_mm01"]
    assert set(kinds(held)) == {False, True}
    assert held.caption_count == len(held)
    assert corpora.train.caption_count == 2 * len(corpora.train)
    assert (held.task.rules, corpora.train.task.rules) == ("sysu", "sysu")


def test_sysu_prepared_arrays_are_the_same_training_set_without_cameras(tmp_path: Path) -> None:
    base = write_sysu(tmp_path)
    arrays = write_sysu_arrays(base)
    folders = load(tmp_path, "sysu_mm01")
    corpus = load(tmp_path, "sysu_mm01", training="arrays")
    assert corpus.image_path(3) == "SYSU-MM01/train_rgb_resized_img.npy#3"
    assert corpus.identity.tolist() == folders.identity.tolist()
    assert [texts for _, _, texts in list_rows(corpus)] == [texts for _, _, texts in list_rows(folders)]
    assert kinds(corpus) == kinds(folders)
    assert set(corpus.cameras().tolist()) == {-1}
    pixels = np.concatenate([arrays["RGB"], arrays["IR"]])
    for row in range(len(corpus)):
        assert np.array_equal(decode(read_bytes(corpus, row)).permute(1, 2, 0).numpy(), pixels[row])
    test = load(tmp_path, "sysu_mm01", "test", training="arrays")
    assert shorten(test) == shorten(load(tmp_path, "sysu_mm01", "test"))


def test_sysu_arrays_train_without_any_camera_folder(tmp_path: Path) -> None:
    base = write_sysu(tmp_path, text=False)
    write_sysu_arrays(base)
    for camera in range(1, 7):
        (base / f"cam{camera}").rename(tmp_path / f"elsewhere{camera}")
    assert len(load(tmp_path, "sysu_mm01", training="arrays")) == 34
    assert refuse(tmp_path, "sysu_mm01", "test", training="arrays") == (
        "'sysu_mm01': has no test split; it has: train"
    )


def test_sets_without_text_are_read_without_captions(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_sysu(tmp_path, text=False)
    write_regdb(tmp_path, text=None)
    choices = tuple(choose(name) for name in ("sysu_mm01", "regdb"))
    with caplog.at_level(logging.INFO):
        corpora = load_corpora(
            make_options(tmp_path, train=choices, test=choices), EvaluationOptions(select_on="test"), seed=1
        )
    assert corpora.train is not None
    assert corpora.train.caption_count == sum(corpus.caption_count for corpus in corpora.test.values()) == 0
    assert "sysu_mm01: there is no folder Text: the images have no captions" in caplog.text
    samples = CrossModalitySamples(
        corpora.train, make_options(tmp_path), Views(tokens=False, kind="slot"), seed=1
    )
    assert len(samples) == (22 + 4) * (12 + 4)


@pytest.mark.parametrize("name", ["SYSU-MM01", "SYSU_MM01", "sysu"])
def test_sysu_is_found_under_each_folder_name(tmp_path: Path, name: str) -> None:
    write_sysu(tmp_path, name=name)
    assert len(load(tmp_path, "sysu_mm01")) == 34


def test_another_captioner_describes_visible_images(tmp_path: Path) -> None:
    base = write_sysu(tmp_path)
    words = [f"git {image}" for image in sysu_images("RGB", TRAIN + VAL)]
    (base / "Text/GIT_RGB").mkdir()
    np.save(base / "Text/GIT_RGB/train_text_GIT_RGB.npy", np.array(words))
    write_json(base / "Text/GIT_RGB/id_caption_map_GIT_RGB.json", {"4": ["git 4"], "30": ["git 30"]})
    corpus = load(tmp_path, "sysu_mm01", captioner="GIT")
    assert corpus.captions(0) == [words[0]]
    assert corpus.captions(len(corpus) - 1)[0].startswith("IR ")


def test_new_images_are_found_without_a_change_of_any_list(tmp_path: Path) -> None:
    base = write_sysu(tmp_path, text=False)
    assert len(load(tmp_path, "sysu_mm01")) == 34
    write_image(base / "cam6/0009/0044.jpg")
    assert len(load(tmp_path, "sysu_mm01")) == 35


@pytest.mark.parametrize("camera", ["cam2", "cam3"])
def test_a_missing_camera_is_named(tmp_path: Path, camera: str) -> None:
    base = write_sysu(tmp_path)
    (base / camera).rename(tmp_path / "elsewhere")
    assert refuse(tmp_path, "sysu_mm01").startswith(
        f"'sysu_mm01': {base}/{camera} not found. Expected: SYSU-MM01/{{cam1/ .. cam6/, exp/"
    )


@pytest.mark.parametrize(
    ("name", "file", "named"),
    [
        ("sysu_mm01", "Text/Blip_IR/train_text_Blip_IR.npy", "Text/Blip_IR/train_text_Blip_IR.npy"),
        (
            "sysu_mm01",
            "Text/Blip_RGB/id_caption_map_Blip_RGB.json",
            "Text/Blip_RGB/caption_dict_Blip_RGB.json",
        ),
        ("sysu_mm01", "exp/val_id.txt", "exp/val_id.txt"),
        ("regdb", "Text/Blip_IR/caption_llm_dict_Blip_IR.json", "Text/Blip_IR/caption_llm_dict_Blip_IR.json"),
        ("regdb", "idx/train_thermal_1.txt", "idx/train_thermal_1.txt"),
        (
            "llcm",
            "Text/Blip_RGB/caption_llm_dict_Blip_RGB.json",
            "Text/Blip_RGB/caption_llm_dict_Blip_RGB.json",
        ),
        ("llcm", "idx/test_id.txt", "idx/test_id.txt"),
    ],
)
def test_a_missing_file_is_named(tmp_path: Path, name: str, file: str, named: str) -> None:
    base = {"sysu_mm01": write_sysu, "regdb": write_regdb, "llcm": write_llcm}[name](tmp_path)
    (base / file).unlink()
    message = refuse(tmp_path, name)
    assert message.startswith(f"'{name}': {base}/{named} not found. Expected: {base.name}/{{")
    assert "tpr data check" in message


@pytest.mark.parametrize(("name", "folder"), [("regdb", "Thermal"), ("llcm", "nir"), ("llcm", "test_nir")])
def test_a_missing_kind_of_images_is_named(tmp_path: Path, name: str, folder: str) -> None:
    base = {"regdb": write_regdb, "llcm": write_llcm}[name](tmp_path)
    (base / folder).rename(tmp_path / "elsewhere")
    assert refuse(tmp_path, name).startswith(f"'{name}': {base}/{folder} not found. Expected: {base.name}/{{")


def test_sysu_texts_of_another_length_order_or_type_are_refused(tmp_path: Path) -> None:
    base = write_sysu(tmp_path)
    path = base / "Text/Blip_RGB/train_text_Blip_RGB.npy"
    whole = np.load(path)
    np.save(path, whole[:-1])
    assert refuse(tmp_path, "sysu_mm01") == (
        f"'sysu_mm01': {path}: has 21 entries, but there are 22 images; their order must agree"
    )
    np.save(path, np.arange(22))
    assert "holds int64 of shape [22], expected strings in one row" in refuse(tmp_path, "sysu_mm01")
    np.save(path, np.array(["a", None] * 11, dtype=object), allow_pickle=True)
    assert "cannot be read: Array can't be memory-mapped: Python objects in dtype" in refuse(
        tmp_path, "sysu_mm01"
    )
    path.write_text("no array")
    assert refuse(tmp_path, "sysu_mm01") == f"'sysu_mm01': {path} is no .npy file"
    np.save(path, whole)
    labels = base / "Text/Blip_RGB/train_text_label_Blip_RGB.npy"
    np.save(labels, np.load(labels)[::-1])
    assert refuse(tmp_path, "sysu_mm01") == (
        f"'sysu_mm01': {labels}: entry 0 is of person '0009', but cam1/0002/0003.jpg shows person 2; "
        "captions and images are in different orders"
    )


def test_sysu_lists_and_arrays_that_are_wrong_are_refused(tmp_path: Path) -> None:
    base = write_sysu(tmp_path, text=False)
    write_sysu_arrays(base)
    labels = base / "train_ir_resized_label.npy"
    np.save(labels, np.load(labels) + 1)
    assert refuse(tmp_path, "sysu_mm01", training="arrays") == (
        f"'sysu_mm01': {labels}: labels go from 1 to 3, but exp/ names 3 training people; expected 0 to 2"
    )
    np.save(labels, np.load(labels)[:-1] - 1)
    assert refuse(tmp_path, "sysu_mm01", training="arrays") == (
        f"'sysu_mm01': {labels}: has 11 labels, but train_ir_resized_img.npy another number of images"
    )
    np.save(labels, np.ones((3, 2)))
    assert "holds float64 of shape [3, 2], expected whole numbers" in refuse(
        tmp_path, "sysu_mm01", training="arrays"
    )
    (base / "train_ir_resized_img.npy").unlink()
    assert f"{base}/train_ir_resized_img.npy not found" in refuse(tmp_path, "sysu_mm01", training="arrays")
    write_text(base / "exp/test_id.txt", "4, 30x")
    assert refuse(tmp_path, "sysu_mm01") == (
        f"'sysu_mm01': {base}/exp/test_id.txt: expected person numbers apart by commas, found '30x'"
    )


def test_a_person_without_infrared_images_ends_training_in_one_line(tmp_path: Path) -> None:
    base = write_sysu(tmp_path)
    for camera in (3, 6):
        for path in (base / f"cam{camera}/0005").iterdir():
            path.unlink()
    for part in ("text", "llm_text", "text_label"):
        path = base / f"Text/Blip_IR/train_{part}_Blip_IR.npy"
        np.save(path, np.delete(np.load(path), range(4, 8)))
    corpus = load(tmp_path, "sysu_mm01")
    with pytest.raises(DataError, match="1 of 3 people have no infrared image .* is identity 5; add some"):
        CrossModalitySamples(corpus, make_options(tmp_path), Views(kind="slot"), seed=1)


@pytest.mark.parametrize("prefix", ["datasets/regdb/", "/data0/hzy_data/RegDB/", "", "C:\\sets\\"])
def test_regdb_captions_are_found_under_every_prefix(tmp_path: Path, prefix: str) -> None:
    write_regdb(tmp_path, prefix=prefix)
    corpus = load(tmp_path, "regdb")
    visible, thermal = (regdb_lines(kind, {193: 1, 7: 0}) for kind in ("Visible", "Thermal"))
    assert shorten(corpus) == [line.split()[0] for line in visible + thermal]
    assert corpus.captions(0) == [f"Visible {shorten(corpus)[0]}", f"again {shorten(corpus)[0]}"]
    assert corpus.captions(7)[0] == f"Thermal {shorten(corpus)[7]}"
    assert corpus.cameras().tolist() == [1] * 4 + [2] * 4


def test_regdb_numbers_training_persons_by_their_labels_and_tests_by_folder(tmp_path: Path) -> None:
    write_regdb(tmp_path)
    assert load(tmp_path, "regdb").identity.tolist() == [1, 1, 0, 0] * 2
    test = load(tmp_path, "regdb", "test")
    assert test.identity.tolist() == [10, 10, 3, 3] * 2
    assert test.captions(0) == [f"Visible {shorten(test)[0]}"]
    second = load_split(choose("regdb", split=2), "train", make_options(tmp_path))
    assert second.identity.tolist() == [0, 0, 1, 1] * 2
    assert (test.name, test.task.rules) == ("regdb", "regdb")
    data = make_options(tmp_path, train=(choose("regdb"),))
    corpora = load_corpora(data, EvaluationOptions(select_on="val", held_out=0.5), seed=1)
    assert set(corpora.val["regdb"].identity.tolist()) < {193, 7}


def test_plain_captions_will_do_for_regdb(tmp_path: Path) -> None:
    write_regdb(tmp_path, text="caption_dict")
    assert [len(load(tmp_path, "regdb").captions(row)) for row in (0, 7)] == [1, 1]


def test_regdb_has_ten_splits() -> None:
    for split in (0, 11):
        with pytest.raises(ConfigError, match=rf"split: expected int in \[1, 10\], got {split}"):
            build_options(ADAPTERS["regdb"].Options, {"split": split}, {})


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (
            "Visible/7/a.bmp seven",
            "line 1: expected an image path and a whole number, found 'Visible/7/a.bmp seven'",
        ),
        ("Visible/7/a.bmp", "line 1: expected an image path and a whole number, found 'Visible/7/a.bmp'"),
        ("Visible/7/a.bmp 0\n\n 3", "line 3: expected an image path and a whole number, found '3'"),
        ("Visible/7/a.bmp -1", "line 1: expected an image path and a whole number"),
        ("../7/a.bmp 0", "line 1: the image path '../7/a.bmp' is empty or leaves the dataset's folder"),
        ("Visible/anna/a.bmp 0", "line 1: expected a person's number as the folder of 'Visible/anna/a.bmp'"),
        ("a.bmp 0", "line 1: expected a person's number as the folder of 'a.bmp'"),
        ("", "the file is empty; fetch it again"),
    ],
)
def test_a_wrong_index_file_is_named_with_its_line(tmp_path: Path, lines: str, problem: str) -> None:
    base = write_regdb(tmp_path)
    path = write_text(base / "idx/train_visible_1.txt", lines)
    assert f"'regdb': {path}: {problem}" in refuse(tmp_path, "regdb")


def test_labels_and_persons_must_belong_one_to_one(tmp_path: Path) -> None:
    base = write_regdb(tmp_path)
    path = write_text(base / "idx/train_visible_1.txt", "\n".join(regdb_lines("Visible", {193: 5, 7: 0})))
    assert refuse(tmp_path, "regdb") == (
        f"'regdb': {path}: person 193 has the labels 5 and 1; expected one for all of a person's images"
    )
    write_text(base / "idx/train_thermal_1.txt", "\n".join(regdb_lines("Thermal", {193: 5, 7: 0})))
    assert refuse(tmp_path, "regdb") == (
        f"'regdb': {path}: 2 people have labels from 0 to 5; expected each of 0..1 once"
    )


def test_captions_of_other_images_are_refused_and_missing_ones_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = write_regdb(tmp_path)
    path = base / "Text/Blip_RGB/caption_llm_dict_Blip_RGB.json"
    texts = json.loads(path.read_text())
    first = f"datasets/regdb/{regdb_lines('Visible', {193: 1})[0].split()[0]}"
    del texts[first]
    write_json(path, texts)
    with caplog.at_level(logging.INFO):
        corpus = load(tmp_path, "regdb")
    assert f"{path}: 1 images have no caption, the first is {first[15:]}" in caplog.text
    assert corpus.captions(0) == []
    write_json(path, {"Visible/999/x.bmp": {"description": "a man"}})
    assert refuse(tmp_path, "regdb") == (
        f"'regdb': {path}: no key names an image of the dataset; the first ends in 'Visible/999/x.bmp', "
        f"expected paths that end in such as '{first[15:]}'"
    )
    write_json(path, {"Visible/7/x.bmp": {"caption": "a man"}})
    assert "image 'Visible/7/x.bmp': expected a 'description' and perhaps" in refuse(tmp_path, "regdb")


def test_llcm_trains_by_its_lists_and_tests_by_its_folders(tmp_path: Path) -> None:
    write_llcm(tmp_path)
    train, test = (load(tmp_path, "llcm", split) for split in ("train", "test"))
    assert shorten(train)[:3] == [
        "vis/0006/0006_c2_f1.jpg",
        "vis/0006/0006_c3_f1.jpg",
        "vis/0040/0040_c2_f1.jpg",
    ]
    assert train.cameras().tolist() == [2, 3] * 4
    assert train.identity.tolist() == [0, 0, 1, 1] * 2
    assert train.captions(5) == ["nir train", "again"]
    expected = [
        f"test_{kind}/cam{c}/{person:04d}/{person:04d}_c{c}_f{frame}.jpg"
        for kind in ("vis", "nir")
        for person in (8, 12)
        for c in (1, 9)
        for frame in (2, 5)
    ]
    assert shorten(test) == expected
    assert test.cameras().tolist() == [1, 1, 9, 9] * 4
    assert [test.captions(row) for row in range(16)] == [[f"of {image}"] for image in expected]
    assert (test.task.rules, kinds(test)) == ("llcm", [False] * 8 + [True] * 8)


def test_published_counts() -> None:
    found = {name: ADAPTERS[name].counts for name in ("sysu_mm01", "regdb", "llcm")}
    assert found["sysu_mm01"]["train"].images == 22_258 + 11_909
    assert found["sysu_mm01"]["test"].images == 6_775 + 3_803
    assert found["llcm"]["train"].images + found["llcm"]["test"].images == 46_767
    assert found["llcm"]["train"].identities + found["llcm"]["test"].identities == 1_064
    assert found["regdb"] == {"train": Counts(206, 4_120, None), "test": Counts(206, 4_120, None)}


def test_checking_and_packing_work_on_both_kinds_and_on_arrays(tmp_path: Path) -> None:
    write_sysu_arrays(write_sysu(tmp_path / "data"))
    write_regdb(tmp_path / "data")
    write_llcm(tmp_path / "data")
    root = tmp_path / "data"
    for choices in (choose_sets(root), [choose("sysu_mm01", training="arrays")]):
        report = check_sets(choices, make_options(root))
        assert not report.failures
        for part in report.splits:
            assert not part.missing + [image for image, _ in part.unreadable], part.name
            assert not part.shared_identities
    for name, options in (("sysu_mm01", {"training": "arrays"}), ("regdb", {}), ("llcm", {})):
        pack_set(choose(name, **options), make_options(root), tmp_path / "fast")
        for split in ("train", "test"):
            loose, packed = (load(place, name, split, **options) for place in (root, tmp_path / "fast"))
            assert packed.table.drop(["picture", "checksum"]).equals(loose.table)
            assert packed.identity.tolist() == loose.identity.tolist()
            assert packed.task == loose.task
            assert all(read_bytes(packed, row) == read_bytes(loose, row) for row in range(len(loose)))


def test_a_map_of_other_persons_is_refused(tmp_path: Path) -> None:
    base = write_sysu(tmp_path)
    path = base / "Text/Blip_RGB/id_caption_map_Blip_RGB.json"
    write_json(path, {"77": ["a man"]})
    assert refuse(tmp_path, "sysu_mm01") == f"'sysu_mm01': {path}: no key is a test person, such as 4"
    write_json(path, {"4": "a man"})
    assert "person 4: expected a list of strings, found a string" in refuse(tmp_path, "sysu_mm01")
    write_json(path, {"0x4": ["a man"]})
    assert "expected person numbers as keys, found '0x4'" in refuse(tmp_path, "sysu_mm01")


def test_a_broken_array_is_found_by_the_check_and_named_in_training(tmp_path: Path) -> None:
    base = write_sysu(tmp_path, text=False)
    write_sysu_arrays(base)
    load(tmp_path, "sysu_mm01", training="arrays")
    path = base / "train_ir_resized_img.npy"
    np.save(path, np.zeros((5, 12, 6, 3), dtype=np.uint8))  # after it was parsed
    report = check_sets([choose("sysu_mm01", training="arrays")], make_options(tmp_path))
    assert report.splits[0].missing[0] == "SYSU-MM01/train_ir_resized_img.npy#5"
    assert len(report.splits[0].missing) == 7
    corpus = load(tmp_path, "sysu_mm01", training="arrays")
    with pytest.raises(DataError, match=r"cannot be read \(the array holds 5 images\)"):
        read_bytes(corpus, 33)
