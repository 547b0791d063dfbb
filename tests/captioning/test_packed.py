"""Images of a packed corpus are captioned like loose ones."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.captioning.plans import make_crops, rows_of, run_plan
from tests.captioning.test_run import Counting
from tests.data.small_sets import choose
from tpr.captioning.engines import CaptionReply, CaptionRequest
from tpr.captioning.engines.chat import open_image
from tpr.captioning.listing import adapter_source
from tpr.captioning.plan import CaptionPlan, Settings, choose_engine, write_plan
from tpr.captioning.texts import SHIPPED, read_texts
from tpr.config.schema import DataOptions
from tpr.data.tables.pack import pack_set
from tpr.errors import DataError

SET = choose("jsonl", path=Path("mine/people.jsonl"))


class Looking(Counting):
    """Echo that keeps what it sees."""

    def __init__(self, options: Counting.Options) -> None:
        super().__init__(options)
        self.seen: dict[str, bytes] = {}

    def generate(self, requests: Sequence[CaptionRequest]) -> list[CaptionReply]:
        for request in requests:
            image = open_image(request)
            assert image is not None
            self.seen[request.image] = image.tobytes()
        return super().generate(requests)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A set with images that appear twice, packed beside the loose ones."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    crops = make_crops(tmp_path / "data" / "mine", people=3, each=2)
    names = sorted(path.relative_to(crops).as_posix() for path in crops.rglob("*.jpg"))
    lines = [
        json.dumps({"image": name, "identity": 3, "captions": ["A man."], "split": "train"})
        for name in [*names[:3], names[0], *names[3:]]
    ]
    (crops / "people.jsonl").write_text("\n".join(lines))
    return tmp_path / "data"


def plan_set(folder: Path, data: Path) -> CaptionPlan:
    source = adapter_source(SET, "train", DataOptions(root=data))
    settings = Settings(captions={"static": 1}, shard_images=2)
    return write_plan(folder, source, read_texts(SHIPPED), choose_engine("echo", {}), settings)


def test_packed_images_are_those_of_the_files(tmp_path: Path, data: Path) -> None:
    plans = [plan_set(tmp_path / "loose", data)]
    pack_set(SET, DataOptions(root=data), data)
    plans.append(plan_set(tmp_path / "packed", data))
    assert [plan.is_packed for plan in plans] == [False, True]
    engines = [Looking(plan.engine.options) for plan in plans]
    run_plan(plans[0], engines[0])
    for image in data.rglob("*.jpg"):
        image.unlink()
    run_plan(plans[1], engines[1])
    assert len(engines[0].seen) == 6
    assert engines[0].seen == engines[1].seen
    assert rows_of(plans[0]) == rows_of(plans[1])


def test_another_packed_set_is_refused(tmp_path: Path, data: Path) -> None:
    pack_set(SET, DataOptions(root=data), data)
    plan = plan_set(tmp_path / "plan", data)
    shutil.rmtree(next(data.rglob("packed")))
    with pytest.raises(DataError, match="is not the one that the plan was made with"):
        run_plan(plan)
