"""`tpr draw`: its options, its sheet, its help."""

import argparse
import errno
import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest
from PIL import Image

from tpr.commands import draw
from tpr.drawn import draw_world, world
from tpr.drawn.layouts import PLANNERS
from tpr.drawn.plan import Plan
from tpr.drawn.sheet import captions_of, choose_samples, write_sheet
from tpr.errors import BusyError, DataError
from tpr.locks import hold_folder

ENTRY = json.dumps(
    {"sets": {"mals": asdict(world.DrawnSet("MALS", 1, 0, 2, None, 10, 10)) | {"pictures": "x"}}}
)


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    draw.add_parser(parser.add_subparsers())
    return parser.parse_args(["draw", *words])


def test_draws_the_named_sets_and_the_sheet(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sheet = tmp_path / "pictures" / "sheet.png"
    options = "--identities 2 --seed 5 --sets mals,icfg_pedes --workers 1 --sheet"
    namespace = parse(str(tmp_path / "world"), *options.split(), str(sheet))
    with caplog.at_level("INFO"):
        assert namespace.run(namespace) == 0
    visible = {path.name for path in (tmp_path / "world").iterdir() if not path.name.startswith(".")}
    assert visible == {"MALS", "ICFG-PEDES", "drawn.json"}
    assert "MALS: 10 images, 10 captions, no identities" in caplog.text
    with Image.open(sheet) as image:
        assert image.format == "PNG"
        assert image.width > 1000


def test_sheet_is_the_same_for_the_same_seed_and_small_enough_for_a_page(tmp_path: Path) -> None:
    for name in ("first.png", "second.png"):
        write_sheet(tmp_path / name, ["cuhk_pedes", "rstpreid"], seed=1)
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()
    assert (tmp_path / "first.png").stat().st_size < 200_000


def test_a_person_is_shown_in_both_kinds_of_light() -> None:
    samples = list(choose_samples(PLANNERS["sysu_mm01"](8, 0), 8))
    assert [shot.view.infrared for shot, _ in samples] == [False, True] * 4
    assert all(
        one.identity == two.identity for (one, _), (two, _) in zip(samples[::2], samples[1::2], strict=True)
    )


@pytest.mark.parametrize("name", list(PLANNERS))
def test_every_set_can_be_shown_with_captions(name: str) -> None:
    plan = PLANNERS[name](2, 0)
    captions = captions_of(plan)
    assert set(captions) == {shot.path for shot in plan.shots}
    assert all((len(caption.split()) > 2) == (plan.captions > 0) for caption in captions.values())


def test_unknown_set_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    namespace = parse(str(tmp_path / "world"), "--sets", "rstpreid,market")
    with pytest.raises(DataError, match="unknown drawn dataset 'market'"):
        namespace.run(namespace)
    assert not (tmp_path / "world").exists()


def test_a_second_start_in_one_folder_is_refused_in_one_sentence(tmp_path: Path) -> None:
    namespace = parse(str(tmp_path), "--identities", "2", "--sets", "mals", "--workers", "1")
    with hold_folder(tmp_path), pytest.raises(BusyError) as caught:
        namespace.run(namespace)
    sentence = "another process is at work there; wait for it, or stop it and start again"
    assert str(caught.value) == f"{tmp_path}: {sentence}"
    assert not (tmp_path / "MALS").exists()


def test_two_starts_at_once_lose_no_stamp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = []
    write_plan = world.write_plan

    def start_another(plan: Plan, folder: Path, workers: int) -> None:
        monkeypatch.setattr(world, "write_plan", write_plan)
        try:
            draw_world(tmp_path, sets=["icfg_pedes"], identities=2, workers=1)
        except BusyError as error:
            refused.append(str(error))
        write_plan(plan, folder, workers)

    monkeypatch.setattr(world, "write_plan", start_another)
    draw_world(tmp_path, sets=["mals"], identities=2, workers=1)
    draw_world(tmp_path, sets=["icfg_pedes"], identities=2, workers=1)
    assert len(refused) == 1
    assert list(world.read_stamp(tmp_path)) == ["mals", "icfg_pedes"]
    assert draw_world(tmp_path, sets=["mals", "icfg_pedes"], identities=2).drawn_now == ()


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill_disk(plan: Plan, folder: Path, workers: int) -> None:
        folder.mkdir()
        (folder / "1.jpg").touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(world, "write_plan", fill_disk)
    with pytest.raises(DataError, match=r"worlds/one: cannot draw there \(No space left on device\)"):
        draw_world(tmp_path / "worlds" / "one", sets=["mals"], identities=2, workers=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ['{"sets": {"mals": {}}}', "[" * 100_000, '{"sets": 1}', "\ud800", ENTRY])
def test_what_is_no_stamp_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "drawn.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(DataError, match="not a stamp of this program; remove") as caught:
        draw_world(tmp_path, sets=["mals"], identities=2, workers=1)
    assert "\n" not in str(caught.value)


def test_help_ends_with_two_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("--help")
    lines = [line.strip() for line in capsys.readouterr().out.rstrip().splitlines()]
    assert lines[-3] == "examples:"
    assert all(line.startswith("tpr draw ") for line in lines[-2:])
