"""Whatever an annotation file holds, reading it gives samples or one DataError of one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.small_infrared import write_llcm, write_regdb, write_sysu
from tests.data.small_sets import choose, cuhk_record, write_json
from tpr.data.adapters.annotations import make_line, read_number
from tpr.data.samples.sample import Sample
from tpr.data.tables.array_files import map_array_file
from tpr.data.tables.columns import make_batch
from tpr.data.tables.corpora import build_adapter
from tpr.errors import DataError

QUICK = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
HUGE = b"7" * 5_000


def read(root: Path, name: str, **options: Any) -> list[Sample] | str:
    """The samples of all splits, or the one line that says why there are none."""
    try:
        samples = [sample for _, sample in build_adapter(choose(name, **options)).parse(root)]
        if samples:
            make_batch(samples)
        return samples
    except DataError as error:
        text = str(error)
        assert len(text.splitlines()) == 1, text
        text.encode("utf-8")
        return text


def write_ham(root: Path) -> Path:
    long = "a man in a black coat and blue jeans"
    return write_json(root / "HAM-PEDES/h.json", {"Part1/7/0.jpg": [long, long], "Part1/8/0.jpg": [long]})


def write_lines(root: Path) -> Path:
    lines = [
        {"image": f"{n // 2}.jpg", "identity": n // 2, "caption": "a man", "split": "test", "camera": 2}
        for n in range(4)
    ]
    (root / "mine").mkdir(parents=True)
    path = root / "mine" / "p.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def write_benchmark(root: Path) -> Path:
    (root / "CUHK-PEDES/imgs").mkdir(parents=True)
    records = [cuhk_record("train", n, f"cam_a/{n}.jpg", "a man") for n in range(3)]
    return write_json(root / "CUHK-PEDES/reid_raw.json", records)


def write_mals(root: Path) -> Path:
    record = {"image": "gene_crop/4x/1.jpg", "caption": "a man", "image_id": "x", "label": [1, 0, -1] * 9}
    return write_json(root / "MALS/gene_attrs/g_4x_attrs.json", [record])


def write_synth(root: Path) -> Path:
    record = {"id": 7, "file_path": "Part1/7/0.jpg", "captions": ["a"], "prompt_caption": ["b"]}
    return write_json(root / "SYNTH-PEDES/synthpedes-dataset.json", [record])


def write_luperson(root: Path) -> Path:
    for name in ("Td-qwen", "Ts-shikra", "Td-shikra"):
        write_json(root / f"LUPerson-MLLM/captions/{name}.json", {"a.jpg": "a man"})
    return write_json(root / "LUPerson-MLLM/captions/Ts-qwen.json", {"a.jpg": "a man", "b/c.jpg": ["x", "y"]})


SETS: dict[str, tuple[str, Callable[[Path], Path], dict[str, Any]]] = {
    "jsonl": ("jsonl", write_lines, {"path": Path("mine")}),
    "benchmark": ("cuhk_pedes", write_benchmark, {}),
    "ham": ("ham_pedes", write_ham, {"identity": "folder"}),
    "mals": ("mals", write_mals, {}),
    "synth": ("synth_pedes", write_synth, {}),
    "luperson": ("luperson_mllm", write_luperson, {}),
    "captions": ("regdb", lambda root: write_regdb(root) / "Text/Blip_IR/caption_llm_dict_Blip_IR.json", {}),
    "index": ("regdb", lambda root: write_regdb(root) / "idx/test_thermal_1.txt", {}),
    "people": ("llcm", lambda root: write_llcm(root) / "idx/test_id.txt", {}),
    "person map": (
        "sysu_mm01",
        lambda root: write_sysu(root) / "Text/Blip_RGB/id_caption_map_Blip_RGB.json",
        {},
    ),
}
"""Set, writer of its files that returns the one to spoil, and options."""

texts = st.text(st.characters(codec=None, exclude_categories=()), max_size=8)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.floats(),
    st.integers(-(10**30), 10**30),
    texts,
    st.sampled_from(["", "1.jpg"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
KEYS = ("image", "identity", "caption", "captions", "split", "camera", "id", "file_path", "label")


@pytest.mark.parametrize("kind", SETS)
def test_spoilt_bytes_give_samples_or_one_line(tmp_path: Path, kind: str) -> None:
    name, write, options = SETS[kind]
    path = write(tmp_path)
    good = path.read_bytes()
    assert not isinstance(read(tmp_path, name, **options), str)
    junk = st.sampled_from(
        [b"", b"\xff", b"\n", b"\0", b'"', b"\\", b"[", HUGE, b"NaN", b"1.0", b"null", b"\xed\xa0\x80"]
    )

    @QUICK
    @given(
        st.lists(
            st.tuples(st.integers(0, len(good)), st.integers(0, 6), junk | st.binary(max_size=3)), max_size=3
        )
    )
    def spoil(changes: list[tuple[int, int, bytes]]) -> None:
        content = good
        for place, length, new in changes:
            content = content[:place] + new + content[place + length :]
        path.write_bytes(content)
        read(tmp_path, name, **options)

    spoil()


@pytest.mark.parametrize("kind", ["jsonl", "benchmark", "ham", "mals", "synth", "luperson", "captions"])
def test_values_of_any_kind_give_samples_or_one_line(tmp_path: Path, kind: str) -> None:
    name, write, options = SETS[kind]
    path = write(tmp_path)
    lines = kind == "jsonl"
    text = path.read_text()
    good = list(map(json.loads, text.splitlines())) if lines else json.loads(text)

    @QUICK
    @given(st.data())
    def spoil(data: st.DataObject) -> None:
        content = json.loads(json.dumps(good))
        key = data.draw(st.sampled_from([*content[0], *KEYS]) if isinstance(content, list) else texts)
        target = (
            content[data.draw(st.integers(0, len(content) - 1))] if isinstance(content, list) else content
        )
        target[key] = data.draw(values)
        whole = "\n".join(map(json.dumps, content)) if lines else json.dumps(content)
        path.write_text(whole)
        read(tmp_path, name, **options)

    spoil()


@pytest.mark.parametrize("kind", SETS)
def test_numbers_of_five_thousand_digits_are_one_line(tmp_path: Path, kind: str) -> None:
    name, write, options = SETS[kind]
    path = write(tmp_path)
    good = path.read_bytes()
    whole = {
        "index": b"Thermal/" + HUGE + b"/a.bmp " + HUGE, "people": b"1, " + HUGE,
        "person map": b'{"' + HUGE + b'": ["a man"]}',
        "ham": b'{"Part1/' + HUGE + b'/0.jpg": ["' + b"w " * 20 + b'"]}',
    }.get(kind, good.replace(b'": ', b'": ' + HUGE + b", ", 1))  # fmt: skip
    path.write_bytes(whole)
    found = read(tmp_path, name, **options)
    assert isinstance(found, str)
    assert len(found) < 600


PARQUET = pa.schema(
    [("file_path", pa.string()), ("captions", pa.list_(pa.string())), ("status", pa.string())]
)


def write_parquet(root: Path, words: bytes = b"a man in a black coat and blue jeans") -> Path:
    path = root / "HAM-PEDES" / "h.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    captions = pa.array([[words]], pa.list_(pa.binary())).cast(PARQUET.field("captions").type, safe=False)
    table = pa.table([pa.array(["Part1/7/0.jpg"]), captions, pa.array(["ok"])], schema=PARQUET)
    pq.write_table(table, path, compression="none")
    return path


def test_parquet_that_holds_no_utf8_is_one_line(tmp_path: Path) -> None:
    path = write_parquet(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"black", b"bl\xffck"))
    found = read(tmp_path, "ham_pedes")
    assert isinstance(found, str)
    assert found.startswith(f"{path}: not a Parquet file that can be read")


def test_parquet_with_other_columns_is_one_line(tmp_path: Path) -> None:
    path = write_parquet(tmp_path)
    pairs = pa.map_(pa.binary(), pa.list_(pa.float64()))
    for column in ([7], [[b"x"]], [{"a": 1}], pa.array([[(b"k", [1.0])]], pairs), [None], [[None]]):
        pq.write_table(pa.table({"file_path": ["a.jpg"], "captions": column}), path)
        assert isinstance(read(tmp_path, "ham_pedes"), str)


def spoil_header(path: Path, header: bytes) -> None:
    """A .npy file of this header and four numbers."""
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(32))


HEADER = b"{'descr': '<i8', 'fortran_order': False, 'shape': (4,), }\n"


@pytest.mark.parametrize(
    "header",
    [
        b"", b"{'descr': ", b"((((", b"'\\d' 'x", b"{[]: 1}", b"\xff\xfe", b"{'descr': '<i8', 'shape': (4,)}",
        b"0777", b"{1: 2, 'descr': 3}", b"(" * 900, b"  {\n\t1:\n  2", b"{'descr': 1 if",
        HEADER.replace(b"'<i8'", b"['a', 1]"), HEADER.replace(b"'<i8'", b"'|O'"),
        HEADER.replace(b"(4,)", b"(-4,)"), HEADER.replace(b"(4,)", b"('a',)"),
        HEADER.replace(b"(4,)", b"(10**9,)"), HEADER.replace(b"(4,)", b"(" + HUGE + b",)"),
    ],
)  # fmt: skip
def test_a_header_that_is_no_literal_is_one_line(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "a.npy"
    spoil_header(path, header)
    with pytest.raises(DataError) as caught:
        map_array_file(path)
    assert str(caught.value).startswith(f"{path} cannot be read")
    assert len(str(caught.value).splitlines()) == 1


def test_a_spoilt_header_gives_an_array_or_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"

    @QUICK
    @given(
        st.integers(0, len(HEADER)),
        st.integers(0, 5),
        st.binary(max_size=4) | texts.map(lambda t: t.encode("utf-8", "ignore")),
    )
    def spoil(place: int, length: int, new: bytes) -> None:
        spoil_header(path, HEADER[:place] + new + HEADER[place + length :])
        try:
            assert isinstance(map_array_file(path), np.ndarray)
        except DataError as error:
            assert len(str(error).splitlines()) == 1

    spoil()


def test_letters_that_are_none_in_an_array_of_texts_are_one_line(tmp_path: Path) -> None:
    base = write_sysu(tmp_path)
    path = base / "Text/Blip_RGB/train_text_Blip_RGB.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-4] + b"\xff\xff\xff\x7f")
    assert f"{path}: an entry is no text" in str(read(tmp_path, "sysu_mm01"))


@given(texts)
@QUICK
def test_a_message_is_one_line_that_can_be_written_and_keeps_its_letters(text: str) -> None:
    line = make_line(text)
    assert len(line.splitlines()) <= 1
    line.encode("utf-8")
    assert line == text or not text.isprintable()


def test_letters_of_every_script_stay_as_they_are() -> None:
    assert make_line("Bildschirmfoto 10.12\u202fPM \u3000 写真") == "Bildschirmfoto 10.12\u202fPM \u3000 写真"
    assert make_line("a\nb\u2028c\ud800") == "a\\nb\\u2028c\\ud800"


def test_words_of_digits_are_numbers_as_long_as_they_fit() -> None:
    assert [read_number(word) for word in ("007", "1" * 18, "1" * 19, "-1", "1.0", "", "x")] == [
        7, int("1" * 18), None, None, None, None, None,
    ]  # fmt: skip
