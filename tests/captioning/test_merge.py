"""Merged corpora are in the published forms, and every caption is in them exactly once."""

import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.captioning.plans import make_crops, make_plan, rows_of, run_plan
from tpr.captioning.forms import write_corpus
from tpr.captioning.merge import Merge
from tpr.captioning.plan import CaptionPlan
from tpr.captioning.shards import marker_path, parts_path
from tpr.captioning.verify import verify_plan
from tpr.data.adapters import ADAPTERS
from tpr.errors import BusyError, ConfigError, DataError
from tpr.locks import LOCK_FILE, hold_folder

BAD = {"bad": 0.2}


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_crops(tmp_path_factory.mktemp("world") / "crops")


@pytest.fixture
def plan(tmp_path: Path, crops: Path) -> CaptionPlan:
    plan = make_plan(tmp_path / "plan", crops, engine=BAD, attempts=2)
    run_plan(plan)
    return plan


def merge(out: Path, form: str, *plans: CaptionPlan, **options) -> dict[str, int]:
    return write_corpus(Merge(plans=plans, out=out, **options).check(), form).files


def test_luperson_mllm_is_read_by_its_adapter(tmp_path: Path, plan: CaptionPlan, crops: Path) -> None:
    second = make_plan(tmp_path / "second", crops, seed=9)
    run_plan(second)
    folder = tmp_path / "data" / "LUPerson-MLLM"
    files = merge(folder / "captions", "luperson_mllm", plan, second)
    assert list(files) == ["Ts-qwen.json", "Td-qwen.json", "Ts-shikra.json", "Td-shikra.json"]
    (folder / "images").mkdir()
    for image in crops.rglob("*.jpg"):
        (folder / "images" / image.name).symlink_to(image)
    adapter = ADAPTERS["luperson_mllm"]
    samples = [
        sample
        for _, sample in adapter(adapter.Options(captions=folder / "captions")).parse(tmp_path / "data")
    ]
    found = Counter((Path(sample.image).name, text) for sample in samples for text in sample.captions)
    rows = [*rows_of(plan), *rows_of(second)]
    assert found == Counter((Path(row["file_path"]).name, row["caption"]) for row in rows)


def test_luperson_mllm_refuses_names_that_collide(tmp_path: Path) -> None:
    crops = make_crops(tmp_path / "crops", people=2, each=1)
    (crops / "0002" / "01_0.jpg").rename(crops / "0002" / "00_0.jpg")
    plan = make_plan(tmp_path / "plan", crops)
    run_plan(plan)
    with pytest.raises(DataError, match="have the same name"):
        merge(tmp_path / "out", "luperson_mllm", plan)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [LOCK_FILE]


def test_ham_pedes_is_read_by_its_adapter(tmp_path: Path, plan: CaptionPlan) -> None:
    merge(tmp_path / "data" / "HAM-PEDES", "ham_pedes", plan, prefix="Part1/")
    wanted = Counter(("SYNTH-PEDES/Part1/" + row["file_path"], row["caption"]) for row in rows_of(plan))
    assert read_ham(tmp_path / "data") == wanted


def test_a_plan_folder_is_a_ham_pedes_corpus_by_itself(tmp_path: Path, plan: CaptionPlan) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "HAM-PEDES").symlink_to(plan.folder)
    wanted = Counter(("SYNTH-PEDES/" + row["file_path"], row["caption"]) for row in rows_of(plan))
    assert read_ham(tmp_path / "data") == wanted


def read_ham(root: Path) -> Counter[tuple[str, str]]:
    adapter = ADAPTERS["ham_pedes"]
    samples = [sample for _, sample in adapter(adapter.Options()).parse(root)]
    return Counter((sample.image, text) for sample in samples for text in sample.captions)


def test_tvi_lfm_has_the_published_form(tmp_path: Path, plan: CaptionPlan) -> None:
    merge(tmp_path / "Text", "tvi_lfm", plan, labels=("Blip_RGB",), view="static-0", prefix="datasets/regdb/")
    folder = tmp_path / "Text" / "Blip_RGB"
    text = (folder / "caption_dict_Blip_RGB.json").read_text()
    found = json.loads(text)
    assert text == json.dumps(found, indent=1)
    rows = [row for row in rows_of(plan) if row["view"] == "static-0"]
    assert found == {f"datasets/regdb/{row['file_path']}": {"description": row["caption"]} for row in rows}
    text = (folder / "id_caption_map_Blip_RGB.json").read_text()
    people: dict[str, list[str]] = {}
    for row in rows:
        captions = people.setdefault(str(row["identity"]), [])
        if row["caption"] not in captions:
            captions.append(row["caption"])
    assert text == json.dumps(people, indent=1)


def test_parquet_tells_where_every_caption_comes_from(tmp_path: Path, plan: CaptionPlan) -> None:
    merge(tmp_path / "out", "parquet", plan)
    rows = pq.read_table(tmp_path / "out" / "captions.parquet").to_pylist()
    assert [{key: row[key] for key in one} for row, one in zip(rows, rows_of(plan), strict=True)] == rows_of(
        plan
    )
    assert {(row["engine"], row["model"], row["plan"]) for row in rows} == {
        ("echo", "echo", plan.fingerprint)
    }
    assert {row["instruction"] for row in rows} == set(plan.texts.instructions.values())
    assert {row["template"] is None for row in rows if row["view"] == "static-0"} == {True}
    failures = [json.loads(line) for line in (tmp_path / "out" / "failures.jsonl").read_text().splitlines()]
    assert len(failures) + len(rows) == plan.requests
    assert "fingerprint: " + plan.fingerprint in (tmp_path / "out" / "provenance.yaml").read_text()


def test_a_corpus_is_not_overwritten(tmp_path: Path, plan: CaptionPlan) -> None:
    merge(tmp_path / "out", "ham_pedes", plan)
    with pytest.raises(ConfigError, match="is there already"):
        merge(tmp_path / "out", "ham_pedes", plan)


def test_two_processes_do_not_merge_into_one_folder(tmp_path: Path, plan: CaptionPlan) -> None:
    (tmp_path / "out").mkdir()
    with hold_folder(tmp_path / "out"), pytest.raises(BusyError, match="out: another process is at work"):
        merge(tmp_path / "out", "parquet", plan)
    assert merge(tmp_path / "out", "parquet", plan)


def test_a_plan_that_is_not_done_is_merged_only_if_asked(tmp_path: Path, plan: CaptionPlan) -> None:
    marker_path(plan, 1).unlink()
    with pytest.raises(DataError, match="1 of 7 shards are not done"):
        merge(tmp_path / "out", "ham_pedes", plan)
    with pytest.raises(DataError, match="1 of 7 shards are not done, the first is 00001"):
        verify_plan(plan)
    (count,) = merge(tmp_path / "out", "ham_pedes", plan, is_partial=True).values()
    gone = {entry.image for entry in plan.entries(1)}
    assert count == sum(row["file_path"] not in gone for row in rows_of(plan))


def test_damaged_shards_are_neither_verified_nor_merged(tmp_path: Path, plan: CaptionPlan) -> None:
    path = parts_path(plan, 1)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="shard 00001: its files are not as written"):
        verify_plan(plan)
    with pytest.raises(DataError, match="shard 00001 are not as written"):
        merge(tmp_path / "out", "ham_pedes", plan)


def test_a_caption_that_is_there_twice_is_found(tmp_path: Path, plan: CaptionPlan) -> None:
    marker = json.loads(marker_path(plan, 0).read_text())
    marker["shard"] = 1
    for kind, suffix in (("parts", "parquet"), ("failures", "jsonl")):
        source = plan.folder / kind / f"00000.{suffix}"
        (plan.folder / kind / f"00001.{suffix}").write_bytes(source.read_bytes())
    marker_path(plan, 1).write_text(json.dumps(marker))
    with pytest.raises(DataError, match="shard 00001: .* is answered 0 times, and"):
        verify_plan(plan)
    with pytest.raises(DataError, match="out of order"):
        merge(tmp_path / "out", "ham_pedes", plan)
