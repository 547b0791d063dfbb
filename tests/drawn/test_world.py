"""The drawn world on disk: layouts by key, counts, same bytes for the same seed, stamps and refusals."""

import hashlib
import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.data.small_sets import choose
from tests.marks import slow_except
from tpr.config.schema import DataOptions
from tpr.data.samples.modality_tests import list_identity_captions
from tpr.data.samples.sample import Split
from tpr.data.tables.check import check_sets
from tpr.data.tables.corpora import load_split
from tpr.drawn import draw_world
from tpr.drawn.layouts import DEFAULT_IDENTITIES, DEFAULT_SETS, FOLDERS, PLANNERS
from tpr.drawn.vocabulary import SLOTS
from tpr.drawn.world import World
from tpr.errors import DataError
from tpr.locks import LOCK_FILE

SMALL = 2
COLOUR_WORDS = {
    word
    for slot in ("colour", "hair colour")
    for words in SLOTS[slot].values()
    for phrase in words["shared"]
    for word in phrase.split()
}


@pytest.fixture(scope="module")
def world(world: Path) -> World:
    """The world that all tests share, as it is described when it is there already."""
    return draw_world(world, sets=["all"], identities=SMALL)


def read(world: World, path: str) -> Any:
    return json.loads((world.out / path).read_text("utf-8"))


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def images_in(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix in (".jpg", ".bmp")
    }


def test_cuhk_pedes_has_the_published_keys_folders_and_one_based_identities(world: World) -> None:
    records = read(world, "CUHK-PEDES/reid_raw.json")
    assert all(set(r) == {"split", "captions", "file_path", "processed_tokens", "id"} for r in records)
    assert {r["file_path"] for r in records} == images_in(world.out / "CUHK-PEDES/imgs")
    folders = {"cam_a", "cam_b", "CUHK01", "CUHK03", "Market", "test_query", "train_query"}
    assert {r["file_path"].partition("/")[0] for r in records} <= folders
    assert {r["split"] for r in records} == {"train", "val", "test"}
    assert all(len(r["captions"]) == len(r["processed_tokens"]) == 2 for r in records)
    train = {r["id"] for r in records if r["split"] == "train"}
    assert train == set(range(1, len(train) + 1))
    assert {r["id"] for r in records} == set(range(1, max(r["id"] for r in records) + 1))


def test_icfg_pedes_has_one_caption_zero_based_identities_and_folders_that_are_not_the_split(
    world: World,
) -> None:
    records = read(world, "ICFG-PEDES/ICFG-PEDES.json")
    assert all(set(r) == {"split", "captions", "file_path", "processed_tokens", "id"} for r in records)
    assert all(len(r["captions"]) == 1 for r in records)
    assert {r["file_path"] for r in records} == images_in(world.out / "ICFG-PEDES/imgs")
    assert {r["split"] for r in records} == {"train", "test"}
    assert len({(r["split"], r["file_path"].partition("/")[0]) for r in records}) == 4
    assert min(r["id"] for r in records) == 0


def test_rstpreid_is_flat_has_five_images_a_person_and_names_them_by_img_path(world: World) -> None:
    records = read(world, "RSTPReid/data_captions.json")
    assert all(set(r) == {"split", "captions", "img_path", "id"} for r in records)
    assert {r["img_path"] for r in records} == images_in(world.out / "RSTPReid/imgs")
    assert not any("/" in r["img_path"] for r in records)
    assert all(sum(r["id"] == identity for r in records) == 5 for identity in {r["id"] for r in records})
    order = [r["split"] for r in sorted(records, key=lambda r: r["id"])]
    assert order == sorted(order, key=("train", "val", "test").index)


def test_luperson_mllm_has_four_flat_caption_files_over_the_same_images_and_the_truth(world: World) -> None:
    names = images_in(world.out / "LUPerson-MLLM/images")
    assert len(names) == 27 * SMALL
    truth = read(world, "LUPerson-MLLM/truth.json")
    assert set(truth["pictures"]) == names
    for file in ("Ts-qwen", "Td-qwen", "Ts-shikra", "Td-shikra"):
        captions = read(world, f"LUPerson-MLLM/captions/{file}.json")
        assert set(captions) == names == set(truth["captions"][file])
        assert all(isinstance(text, str) and text for text in captions.values())


def test_synth_pedes_has_five_keys_parts_and_six_attribute_fields(world: World) -> None:
    records = read(world, "SYNTH-PEDES/synthpedes-dataset.json")
    assert all(set(r) == {"id", "file_path", "attributes", "captions", "prompt_caption"} for r in records)
    assert {r["file_path"] for r in records} == images_in(world.out / "SYNTH-PEDES")
    assert all(len(r["attributes"]) == 1 and r["attributes"][0].count(",") == 5 for r in records)
    assert all(len(r["captions"]) in (1, 2) and len(r["prompt_caption"]) == 1 for r in records)
    assert all(r["file_path"].split("/")[1] == str(r["id"]) for r in records)
    assert {r["id"] for r in records} == set(range(1, SMALL + 1))


def test_ham_pedes_maps_paths_to_two_captions_and_its_images_are_those_of_synth_pedes(world: World) -> None:
    captions = read(world, "HAM-PEDES/ham-pedes.json")
    assert set(captions) == images_in(world.out / "HAM-PEDES")
    assert all(len(texts) == 2 for texts in captions.values())
    for path in captions:
        same = (world.out / "SYNTH-PEDES" / path).read_bytes()
        assert (world.out / "HAM-PEDES" / path).read_bytes() == same


def test_mals_has_attribute_lists_with_27_labels_and_lower_case_captions(world: World) -> None:
    files = sorted((world.out / "MALS/gene_attrs").glob("g_*_attrs.json"))
    assert [file.name for file in files] == [
        f"g_{subset}_attrs.json" for subset in ("4x", "c_g_a_0", "c_g_a", "i_g_a_0", "i_g_a")
    ]
    records = [record for file in files for record in json.loads(file.read_text())]
    assert {r["image"] for r in records} == {
        f"gene_crop/{p}" for p in images_in(world.out / "MALS/gene_crop")
    }
    for record in records:
        assert set(record) == {"image", "caption", "image_id", "label"}
        assert record["caption"] == record["caption"].lower().strip(".")
        assert len(record["label"]) == 27
        assert set(record["label"]) <= {-1, 0, 1}
        _, subset, file = record["image"].split("/")
        assert record["image_id"] == f"{subset}_{file.removesuffix('.jpg')}"


def people_in(world: World, path: str) -> set[int]:
    (line,) = (world.out / path).read_text().splitlines()
    return set(map(int, line.split(",")))


def test_sysu_mm01_has_six_cameras_lists_of_persons_and_texts_in_the_order_of_the_images(
    world: World,
) -> None:
    base = world.out / "SYSU-MM01"
    split = {name: people_in(world, f"SYSU-MM01/exp/{name}_id.txt") for name in ("train", "val", "test")}
    images = sorted(images_in(base), key=lambda path: (path.split("/")[1], path))
    people = {int(path.split("/")[1]) for path in images}
    assert {path.split("/")[0] for path in images} == {f"cam{camera}" for camera in range(1, 7)}
    assert people == set().union(*split.values())
    assert sum(map(len, split.values())) == len(people)
    for kind, cameras in (("RGB", "1245"), ("IR", "36")):
        training = [p for p in images if p[3] in cameras and int(p.split("/")[1]) not in split["test"]]
        folder = base / f"Text/Blip_{kind}"
        columns = [
            np.load(folder / f"train_{part}_Blip_{kind}.npy", allow_pickle=False).tolist()
            for part in ("text", "llm_text", "text_label")
        ]
        assert [int(person) for person in columns[2]] == [int(path.split("/")[1]) for path in training]
        assert {len(person) for person in columns[2]} == ({4} if kind == "RGB" else {1, 2})
        assert all(len(text.split()) > 3 for text in columns[0] + columns[1])
    own = read(world, "SYSU-MM01/Text/Blip_IR/caption_dict_Blip_IR.json")
    assert set(own) == {f"datasets/sysu/{path}" for path in images if path[3] in "36"}
    assert all(set(value) == {"description"} for value in own.values())
    assert set(read(world, "SYSU-MM01/Text/Blip_RGB/id_caption_map_Blip_RGB.json")) == set(map(str, people))


def test_regdb_has_ten_splits_in_halves_and_both_dictionaries(world: World) -> None:
    base = world.out / "RegDB"
    images = images_in(base)
    assert {path.split("/")[0] for path in images} == {"Visible", "Thermal"}
    seen = set()
    for split in range(1, 11):
        parts = {}
        for name in ("train", "test"):
            for kind in ("visible", "thermal"):
                lines = (base / f"idx/{name}_{kind}_{split}.txt").read_text().splitlines()
                listed, labels = zip(*(line.split() for line in lines), strict=True)
                assert set(listed) <= images
                assert sorted(set(map(int, labels))) == list(range(len(lines) // 10))
                parts[name, kind] = {image.split("/")[1] for image in listed}
        assert parts["train", "visible"] == parts["train", "thermal"]
        assert not parts["train", "visible"] & parts["test", "thermal"]
        assert len(parts["train", "visible"]) == len(parts["test", "visible"])
        seen.add(frozenset(parts["train", "visible"]))
    assert len(seen) > 1
    for kind, folder in (("RGB", "Visible"), ("IR", "Thermal")):
        known = read(world, f"RegDB/Text/Blip_{kind}/caption_llm_dict_Blip_{kind}.json")
        assert set(known) == {f"datasets/regdb/{path}" for path in images if path.startswith(folder)}
        assert all(set(value) == {"description", "aug_description"} for value in known.values())


def test_llcm_has_training_lists_test_folders_and_texts_without_the_cameras_folder(world: World) -> None:
    base = world.out / "LLCM"
    images, test = images_in(base), people_in(world, "LLCM/idx/test_id.txt")
    for kind, captions in (("vis", "RGB"), ("nir", "IR")):
        lines = (base / f"idx/train_{kind}.txt").read_text().splitlines()
        listed = [line.split()[0] for line in lines]
        assert set(listed) == {path for path in images if path.startswith(f"{kind}/")}
        tested = [path for path in images if path.startswith(f"test_{kind}/")]
        assert {int(path.split("/")[2]) for path in tested} == test
        assert not test & {int(image.split("/")[1]) for image in listed}
        known = read(world, f"LLCM/Text/Blip_{captions}/caption_llm_dict_Blip_{captions}.json")
        stored = {f"{kind}/{path.split('/', 2)[2]}" for path in tested} | set(listed)
        assert set(known) == {f"datasets/llcm/{path}" for path in stored}
    assert not any(path.startswith("test_nir/cam3") for path in images)


def test_infrared_images_have_no_colour_and_visible_ones_do(world: World) -> None:
    for folder, infrared in (
        ("SYSU-MM01", ("cam3", "cam6")),
        ("RegDB", ("Thermal",)),
        ("LLCM", ("nir", "test_nir")),
    ):
        for path in sorted(images_in(world.out / folder))[::5]:
            pixels = np.asarray(Image.open(world.out / folder / path), dtype=int)
            has_colour = bool((pixels != pixels[..., :1]).any())
            assert has_colour is not path.startswith(tuple(f"{name}/" for name in infrared)), path


@pytest.mark.parametrize("name", ["sysu_mm01", "regdb", "llcm"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_drawn_visible_infrared_sets_are_read_by_their_adapters(
    world: World, tmp_path: Path, name: str, split: Split
) -> None:
    data = DataOptions(root=world.out, cache=tmp_path)
    corpus = load_split(choose(name), split, data)
    rows = np.flatnonzero(corpus.infrared())
    assert 0 < len(rows) < len(corpus)
    assert set(corpus.identity[rows]) == set(corpus.identity)
    counts = np.diff(corpus.caption_offsets)
    if split == "train":
        assert (counts == 2).all()
    else:
        assert (counts[rows] == 1).all()
        assert set(list_identity_captions(corpus)) == set(corpus.identity.tolist())
    for row in rows.tolist():
        for caption in corpus.captions(row):
            assert not COLOUR_WORDS & set(re.findall(r"[a-z]+", caption)), caption
    visible = np.flatnonzero(~corpus.infrared() & (counts > 0)).tolist()
    named = [
        bool(COLOUR_WORDS & set(re.findall(r"[a-z]+", text)))
        for row in visible
        for text in corpus.captions(row)
    ]
    assert np.mean(named) > 0.9


@pytest.mark.parametrize("name", ["sysu_mm01", "regdb", "llcm"])
def test_drawn_visible_infrared_sets_pass_the_check(world: World, tmp_path: Path, name: str) -> None:
    report = check_sets([choose(name)], DataOptions(root=world.out, cache=tmp_path))
    assert not report.is_broken
    assert [part.split for part in report.splits] == ["train", "test"]
    assert sum(part.found.captions or 0 for part in report.splits) == world.sets[name].captions


def test_images_are_rgb_jpegs_of_benchmark_sizes(world: World) -> None:
    for path in world.out.rglob("*.jpg"):
        with Image.open(path) as image:
            assert (image.format, image.mode) == ("JPEG", "RGB")
            assert 128 <= image.height <= 400
            assert 44 <= image.width <= 185
            assert 1.9 < image.height / image.width < 3.0


def test_stamp_counts_what_is_on_disk(world: World) -> None:
    stamp = read(world, "drawn.json")
    assert list(stamp["sets"]) == list(PLANNERS)
    for entry in stamp["sets"].values():
        assert entry["images"] == len(images_in(world.out / entry["folder"]))
    assert stamp["sets"]["luperson_mllm"]["captions"] == 4 * 27 * SMALL


@pytest.mark.slow
def test_same_seed_gives_the_same_bytes_whatever_the_workers_and_another_seed_does_not(
    world: World, tmp_path: Path
) -> None:
    sets = ["cuhk_pedes", "mals", "sysu_mm01"]
    draw_world(tmp_path / "two", sets=sets, identities=SMALL, workers=2)
    draw_world(tmp_path / "other", sets=sets, identities=SMALL, workers=1, seed=1)
    for name in sets:
        assert digests(tmp_path / "two" / FOLDERS[name]) == digests(world.out / FOLDERS[name])
        first = set(digests(world.out / FOLDERS[name]).values())
        assert not first & set(digests(tmp_path / "other" / FOLDERS[name]).values())


def test_a_drawing_process_that_is_killed_ends_the_drawing_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(folder: Path, shot: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr("tpr.drawn.world.write_shot", pickle_by_name(kill))
    with pytest.raises(DataError, match="^a drawing process was killed; draw again, with --workers 1"):
        draw_world(tmp_path, sets=["mals"], identities=2, workers=2)
    assert not (tmp_path / FOLDERS["mals"]).exists()


def pickle_by_name(function: Callable[..., None]) -> Callable[..., None]:
    """The function, found in this module by processes that are forked from this one."""
    function.__qualname__ = "_found_by_name"
    globals()["_found_by_name"] = function
    return function


def read_times(folder: Path) -> dict[Path, int]:
    """When each file was written, the lock apart, which some versions of its library write anew."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != LOCK_FILE}


def test_second_call_draws_nothing_and_says_so(world: World, caplog: pytest.LogCaptureFixture) -> None:
    before = read_times(world.out)
    with caplog.at_level("INFO"):
        again = draw_world(world.out, identities=SMALL)
    assert again.drawn_now == ()
    assert tuple(again.sets) == DEFAULT_SETS
    assert "is already drawn" in caplog.text
    assert read_times(world.out) == before


def test_further_sets_join_those_that_are_there(tmp_path: Path) -> None:
    draw_world(tmp_path, sets=["icfg_pedes"], identities=2, workers=1)
    before = digests(tmp_path / "ICFG-PEDES")
    later = draw_world(tmp_path, sets=["icfg_pedes", "mals"], identities=2, workers=1)
    assert later.drawn_now == ("mals",)
    assert digests(tmp_path / "ICFG-PEDES") == before


def test_half_drawn_sets_are_drawn_again(tmp_path: Path) -> None:
    whole = draw_world(tmp_path / "whole", sets=["mals"], identities=2, workers=1)
    half = tmp_path / "half"
    (half / ".drawing-MALS").mkdir(parents=True)
    (half / ".drawing-MALS" / "rest.jpg").write_bytes(b"")
    (half / ".drawing-CUHK-PEDES").mkdir()
    draw_world(half, sets=["mals"], identities=2, workers=1)
    assert digests(half / "MALS") == digests(whole.out / "MALS")
    assert not list(half.glob(".drawing-*"))


def test_set_entered_in_the_stamp_but_not_yet_in_place_is_drawn_again(tmp_path: Path) -> None:
    draw_world(tmp_path, sets=["mals"], identities=2, workers=1)
    (tmp_path / "MALS").rename(tmp_path / ".drawing-MALS")
    assert draw_world(tmp_path, sets=["mals"], identities=2, workers=1).drawn_now == ("mals",)
    assert (tmp_path / "MALS/gene_attrs/g_4x_attrs.json").is_file()


def test_folder_of_somebody_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "MALS").mkdir()
    (tmp_path / "MALS" / "precious.txt").write_text("mine")
    with pytest.raises(DataError, match="MALS exists but was not drawn by this program; move it away"):
        draw_world(tmp_path, sets=["mals"], identities=2, workers=1)
    assert (tmp_path / "MALS" / "precious.txt").read_text() == "mine"
    assert not (tmp_path / "drawn.json").exists()


def test_other_arguments_for_a_drawn_set_are_one_clear_line(world: World) -> None:
    message = (
        rf"LUPerson-MLLM was drawn with version=1 seed=0 identities={SMALL}, asked for version=1 seed=7 "
    )
    with pytest.raises(DataError, match=message) as caught:
        draw_world(world.out, identities=SMALL, seed=7)
    assert "\n" not in str(caught.value)
    assert "remove that folder or choose another" in str(caught.value)


def test_unknown_set_suggests_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unknown drawn dataset 'cuhk_pede'; did you mean 'cuhk_pedes'"):
        draw_world(tmp_path, sets=["cuhk_pede"])
    with pytest.raises(DataError, match="known: luperson_mllm, .*, all"):
        draw_world(tmp_path, sets=["zzz"])


def test_damaged_stamp_and_tiny_worlds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="identities must be at least 2, got 1"):
        draw_world(tmp_path, identities=1)
    (tmp_path / "drawn.json").write_text('{"sets": [1]}')
    with pytest.raises(DataError, match=r"drawn\.json: not a stamp of this program"):
        draw_world(tmp_path)


def test_file_in_the_way_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot draw there"):
        draw_world(tmp_path / "file", sets=["mals"], identities=2, workers=1)


@pytest.mark.parametrize("name", slow_except({"icfg_pedes"}, ["cuhk_pedes", "icfg_pedes", "rstpreid"]))
def test_default_benchmarks_have_100_test_identities_and_300_gallery_images(name: str) -> None:
    plan = PLANNERS[name](DEFAULT_IDENTITIES, 0)
    (records,) = plan.files.values()
    of_split = {
        split: {r["id"] for r in records if r["split"] == split} for split in {r["split"] for r in records}
    }
    assert len(of_split["test"]) >= 100
    assert sum(r["split"] == "test" for r in records) >= 300
    assert not of_split["train"] & of_split["test"]
    assert not of_split["train"] & of_split.get("val", set())
    assert not of_split["test"] & of_split.get("val", set())
    people = [shot.person for shot in plan.shots]
    test_people = {shot.person for shot in plan.shots if shot.identity in of_split["test"]}
    assert len(set(people)) == plan.identities
    assert not test_people & {shot.person for shot in plan.shots if shot.identity in of_split["train"]}
