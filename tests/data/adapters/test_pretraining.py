"""SYNTH-PEDES, HAM-PEDES and MALS in every layout."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.small_sets import list_rows, load, write_json
from tpr.config.typed import build_options
from tpr.data.adapters.synth_pedes import SynthPedes
from tpr.errors import ConfigError, DataError

LONG = "a man in a black coat and blue jeans"
OTHER = "the person wears a black coat over blue jeans today"


def synth_record(identity: int, number: int, captions: list[str], prompt: str) -> dict[str, Any]:
    return {
        "id": identity,
        "file_path": f"Part1/{identity}/{number}.jpg",
        "attributes": ["man,short hair,coat,jeans,unknown,unknown"],
        "captions": captions,
        "prompt_caption": [prompt],
    }


@pytest.mark.parametrize("name", ["synthpedes-dataset.json", "synthpedes_dataset.json"])
def test_synth_pedes_is_read_under_both_names_and_cleaned(tmp_path: Path, name: str) -> None:
    record = synth_record(7, 0, [" a  jacket.He is tall. ", "U.S. style"], "A man\n")
    write_json(tmp_path / "SYNTH-PEDES" / name, [record, synth_record(3, 1, ["b"], " ")])
    assert list_rows(load(tmp_path, "synth_pedes")) == [
        ("SYNTH-PEDES/Part1/7/0.jpg", 1, ["a jacket. He is tall.", "U.S. style", "A man"]),
        ("SYNTH-PEDES/Part1/3/1.jpg", 0, ["b"]),
    ]


@pytest.mark.parametrize(
    ("captions", "chosen"),
    [("all", ["a", "b", "p"]), ("style", ["a", "b"]), ("prompt", ["p"]), ("published", ["a", "p"])],
)
def test_synth_pedes_captions_are_an_option(tmp_path: Path, captions: str, chosen: list[str]) -> None:
    write_json(tmp_path / "SYNTH-PEDES" / "synthpedes-dataset.json", [synth_record(1, 0, ["a", "b"], "p")])
    assert load(tmp_path, "synth_pedes", captions=captions).captions(0) == chosen


def test_synth_pedes_warns_where_ids_are_not_the_folders_of_persons(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "SYNTH-PEDES" / "synthpedes-dataset.json"
    records = [synth_record(1, 0, ["a"], "p"), synth_record(2, 0, ["a"], "p")]
    write_json(path, records)
    load(tmp_path, "synth_pedes")
    assert "another id" not in caplog.text
    write_json(path, [records[0], records[1] | {"id": 9}])
    load(tmp_path, "synth_pedes")
    assert "synth_pedes: 1 records have another id than the folder of their image" in caplog.text


def test_synth_pedes_draws_identities_with_all_their_images(tmp_path: Path) -> None:
    records = [synth_record(identity, n, ["a"], "p") for identity in range(1, 21) for n in range(3)]
    write_json(tmp_path / "SYNTH-PEDES" / "synthpedes-dataset.json", records)
    corpus = load(tmp_path, "synth_pedes", identities=5)
    assert (len(corpus), corpus.identity_count) == (15, 5)
    assert list_rows(corpus) == list_rows(load(tmp_path, "synth_pedes", identities=5))
    assert list_rows(corpus) != list_rows(load(tmp_path, "synth_pedes", identities=5, seed=2))


def test_drawing_images_and_identities_at_once_is_refused() -> None:
    with pytest.raises(ConfigError, match="give images or identities to draw, not both"):
        SynthPedes.Options(images=3, identities=3)
    with pytest.raises(ConfigError, match="images: expected int >= 1, got 0"):
        build_options(SynthPedes.Options, {"images": 0}, {})


def write_ham(root: Path, form: str) -> None:
    """Two images with two captions each."""
    folder = root / "HAM-PEDES"
    captions = {"Part1/7/0.jpg": [LONG, OTHER], "Part2/9/3.jpg": [OTHER, LONG]}
    if form == "object":
        write_json(folder / "ham.json", captions)
    elif form == "list":
        rows = [{"id": 1, "file_path": path, "captions": texts} for path, texts in captions.items()]
        write_json(folder / "ham.json", rows)
    elif form == "parquet":
        (folder / "parts").mkdir(parents=True)
        table = pa.table({"image": list(captions), "captions": list(captions.values())})
        pq.write_table(table, folder / "parts" / "00000.parquet")
    else:
        folder.mkdir(parents=True)
        lines = [
            {"file_path": path, "caption": text, "status": "ok", "view": view}
            for view in range(2)
            for path, texts in captions.items()
            for text in texts[view : view + 1]
        ]
        lines.insert(1, {"file_path": "Part1/7/0.jpg", "caption": None, "status": "rejected:short"})
        (folder / "0.jsonl").write_text("\n".join(map(json.dumps, lines)))
    write_json(folder / "plan.json", {"shards": 1})


@pytest.mark.parametrize("form", ["object", "list", "parquet", "jsonl"])
def test_ham_pedes_is_read_in_every_form(tmp_path: Path, form: str) -> None:
    write_ham(tmp_path, form)
    (tmp_path / "SYNTH-PEDES" / "Part2").mkdir(parents=True)
    (tmp_path / "HAM-PEDES" / "Part1").mkdir(parents=True)
    corpus = load(tmp_path, "ham_pedes")
    assert list_rows(corpus) == [
        ("HAM-PEDES/Part1/7/0.jpg", 0, [LONG, OTHER]),
        ("SYNTH-PEDES/Part2/9/3.jpg", 1, [OTHER, LONG]),
    ]
    assert not corpus.has_identities


def test_ham_pedes_takes_identities_from_folders_on_request(tmp_path: Path) -> None:
    paths = ["Part1/12/0.jpg", "Part1/4/0.jpg", "Part1/12/1.jpg"]
    write_json(tmp_path / "HAM-PEDES" / "ham.json", {path: [LONG] for path in paths})
    corpus = load(tmp_path, "ham_pedes", identity="folder")
    assert corpus.has_identities
    assert corpus.identity.tolist() == [1, 0, 1]
    write_json(tmp_path / "HAM-PEDES" / "ham.json", {"a.jpg": [LONG]})
    with pytest.raises(DataError, match="needs paths like Part1/7/1.jpg, found 'a.jpg'; use identity: image"):
        load(tmp_path, "ham_pedes", identity="folder")


def test_ham_pedes_drops_captions_by_its_rule_and_images_left_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seven, most, more = " ".join("w" * 7), " ".join("w" * 130), " ".join("w" * 131)
    bad = [seven, more, f"{LONG} <p>", f"{LONG} >", f"{LONG}\nmore", f"{LONG} /n"]
    write_json(
        tmp_path / "HAM-PEDES" / "h.json",
        {"Part1/1/0.jpg": [*bad, f"  {LONG}  ", most], "Part1/1/1.jpg": bad},
    )
    with caplog.at_level("INFO"):
        corpus = load(tmp_path, "ham_pedes")
    assert list_rows(corpus) == [("SYNTH-PEDES/Part1/1/0.jpg", 0, [LONG, most])]
    assert "12 captions failed the dataset's own rule, 1 images were left without" in caplog.text


def test_ham_pedes_with_several_annotations_asks_for_one(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        write_json(tmp_path / "HAM-PEDES" / name, {"Part1/1/0.jpg": [LONG]})
    with pytest.raises(
        DataError, match=r"found several annotation files \(a.json, b.json\); keep the one to read"
    ):
        load(tmp_path, "ham_pedes")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("h.json", b"3", "h.json: found int 3; expected {image path: [captions]} or a list of objects"),
        ("h.json", b'{"a.jpg": 4}', "h.json: record 0: 'captions' must be a list of strings, found int 4"),
        ("h.json", b'{"/a.jpg": ["x"]}', "h.json: record 0: the image path '/a.jpg' is empty or leaves"),
        (
            "h.json",
            b'[{"image": "a"}]',
            "h.json: record 0: found the keys image; expected file_path, captions",
        ),
        (
            "h.jsonl",
            b'{"file_path": "a"}\n',
            "h.jsonl: line 1: found the keys file_path; expected file_path, captions",
        ),
        ("h.parquet", b"PAR1", "h.parquet: not a Parquet file that can be read"),
    ],
)
def test_a_wrong_ham_pedes_file_is_one_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / "HAM-PEDES").mkdir()
    (tmp_path / "HAM-PEDES" / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        load(tmp_path, "ham_pedes")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


LABELS = [1, 0, -1] * 9


def mals_record(subset: str, number: int, **changes: Any) -> dict[str, Any]:
    image = f"gene_crop/{subset}/{number}.jpg"
    return {"image": image, "caption": f"a {subset} {number}", "image_id": "x", "label": LABELS} | changes


@pytest.mark.parametrize(
    "place", ["MALS/gene_attrs", "MALS/finetune/gene_attrs", "gene_attrs", "finetune/gene_attrs"]
)
@pytest.mark.parametrize("images", ["MALS/gene_crop", "MALS", "images/MALS/gene_crop", "images/MALS"])
def test_mals_is_joined_in_every_layout(tmp_path: Path, place: str, images: str) -> None:
    (tmp_path / "MALS").mkdir()
    (tmp_path / images / "4x").mkdir(parents=True)
    write_json(tmp_path / place / "g_4x_attrs.json", [mals_record("4x", 17)])
    corpus = load(tmp_path, "mals")
    assert list_rows(corpus) == [(f"{images}/4x/17.jpg", 0, ["a 4x 17"])]
    assert corpus.table.column("attributes").to_pylist() == [LABELS]
    assert not corpus.has_identities


def test_mals_joins_on_the_last_three_parts_of_the_path(tmp_path: Path) -> None:
    records = [
        mals_record("c_g_a", 1, image="some/where/gene_crop/c_g_a/1.jpg"),
        mals_record("c_g_a", 2, image="c_g_a/2.jpg"),
    ]
    write_json(tmp_path / "MALS" / "gene_attrs" / "g_c_g_a_attrs.json", records)
    corpus = load(tmp_path, "mals")
    assert [corpus.image_path(row) for row in (0, 1)] == [f"MALS/gene_crop/c_g_a/{n}.jpg" for n in (1, 2)]


def test_mals_reads_only_the_files_that_are_named(tmp_path: Path) -> None:
    for subset in ("4x", "c_g_a"):
        write_json(tmp_path / "MALS" / "gene_attrs" / f"g_{subset}_attrs.json", [mals_record(subset, 1)])
    assert len(load(tmp_path, "mals")) == 2
    assert load(tmp_path, "mals", files=("g_c_g_a_attrs.json",)).captions(0) == ["a c_g_a 1"]
    with pytest.raises(DataError, match=r"gene_attrs/g_5x_attrs.json not found\. Expected: MALS/"):
        load(tmp_path, "mals", files=("g_5x_attrs.json",))


def test_mals_warns_where_the_first_label_contradicts_the_captions(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "MALS" / "gene_attrs" / "g_4x_attrs.json"

    def write(flip: int, count: int = 30) -> None:
        words = ("a woman walking", "a man walking")
        labels = [[n % 2 ^ flip, *LABELS[1:]] for n in range(count)]
        records = [mals_record("4x", n, caption=words[n % 2], label=labels[n]) for n in range(count)]
        write_json(path, records)
        caplog.clear()
        load(tmp_path, "mals")

    write(flip=0)
    assert "contradicts" not in caplog.text
    write(flip=1, count=10)
    assert "contradicts" not in caplog.text
    write(flip=1)
    assert "mals: the first label (0 woman, 1 man) contradicts 30 of 30 captions" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": [0, 1]}, "'label' must be a list of 27 numbers of -1, 0, 1"),
        ({"label": [2] * 27}, "'label' must be a list of 27 numbers of -1, 0, 1"),
        ({"caption": ["x"]}, "'caption' must be a string, found a list of a string"),
        ({"image": "1.jpg"}, "'image' must end in gene_crop/<subset>/<file>"),
    ],
)
def test_a_wrong_mals_record_is_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = write_json(tmp_path / "MALS" / "gene_attrs" / "g_4x_attrs.json", [mals_record("4x", 1, **changes)])
    with pytest.raises(DataError) as caught:
        load(tmp_path, "mals")
    assert str(caught.value) == f"'mals': {path}: record 0: {message}"
