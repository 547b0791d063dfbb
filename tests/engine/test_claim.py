"""Which folder a run works in when there are others, damaged ones, or two starts at once."""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tpr import distributed
from tpr.config.schema import Choice, Experiment, OptimOptions, RuntimeOptions
from tpr.engine import claim
from tpr.engine.claim import ask_main_rank, enter_folder, find_folder
from tpr.engine.run_folder import forget_unstarted, is_finished, open_folder
from tpr.errors import BusyError, ConfigError, DataError, TrainingError
from tpr.locks import is_held
from tpr.models.clip import ClipOptions
from tpr.systems import SYSTEMS


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return Experiment(
        name="drawn-pretrain",
        system=Choice("irra", SYSTEMS["irra"].Options()),
        model=Choice("clip", ClipOptions()),
        runtime=RuntimeOptions(output=tmp_path / "runs"),
    )


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_second_start_of_the_same_run_gets_the_one_sentence(experiment: Experiment) -> None:
    with enter_folder(experiment) as folder:
        assert is_held(folder)
        sentence = f"{folder}: another process is at work there"
        with pytest.raises(BusyError, match=sentence), enter_folder(experiment):
            pytest.fail("two processes in one folder")
    assert not is_held(folder)
    with enter_folder(experiment) as again:
        assert again == folder


def test_another_configuration_of_the_same_name_works_beside_it(experiment: Experiment) -> None:
    other = replace(experiment, seed=2)
    with enter_folder(experiment) as one, enter_folder(other) as two:
        assert (one.name, two.name) == ("drawn-pretrain", "drawn-pretrain-2")


def test_two_configurations_that_take_a_name_at_the_same_moment_get_two_folders(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, races = replace(experiment, seed=2), []

    def find_late(wanted: Experiment) -> Path:
        folder = find_folder(wanted)
        if not races:
            races.append(folder)
            open_folder(folder, other)
        return folder

    monkeypatch.setattr(claim, "find_folder", find_late)
    with ExitStack() as held:
        assert claim.claim_folder(experiment, held).name == "drawn-pretrain-2"
    assert find_folder(other) == races[0]
    assert list_names(experiment.runtime.output) == ["drawn-pretrain", "drawn-pretrain-2"]


def test_a_folder_that_another_process_took_away_is_made_anew(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_folder(find_folder(experiment), experiment)
    hold, losses = claim.hold_folder, []

    def lose_first(folder: Path):  # type: ignore[no-untyped-def]
        if not losses:
            losses.append(folder)
            forget_unstarted(folder)
            folder.mkdir()
        return hold(folder)

    monkeypatch.setattr(claim, "hold_folder", lose_first)
    with ExitStack() as held:
        folder = claim.claim_folder(experiment, held)
        assert (folder / "config.yaml").exists()


def test_a_failed_start_leaves_nothing_though_it_held_the_folder(experiment: Experiment) -> None:
    with enter_folder(experiment) as folder:
        (folder / "log.txt").touch()
        forget_unstarted(folder)
    assert list_names(experiment.runtime.output) == []


def test_other_ranks_are_refused_with_the_main_one(monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = BusyError("runs/x: another process is at work there")
    monkeypatch.setattr(distributed, "is_main_rank", lambda: False)
    monkeypatch.setattr(distributed, "share_object", lambda value: refusal)
    with pytest.raises(BusyError, match="another process"):
        ask_main_rank(lambda: pytest.fail("the main process alone looks"))


def test_a_folder_of_an_older_version_is_found_by_its_options(experiment: Experiment) -> None:
    folder = find_folder(experiment)
    open_folder(folder, experiment)
    config = folder / "config.yaml"
    _, rest = config.read_text().split("\n", 1)
    lines = [line for line in rest.splitlines() if "timeout_seconds" not in line]
    config.write_text("\n".join(["# fingerprint: 0123456789ab", *lines]))
    assert find_folder(experiment) == folder
    assert find_folder(replace(experiment, seed=2)) != folder


def test_another_arithmetic_is_another_run(experiment: Experiment) -> None:
    open_folder(find_folder(experiment), experiment)
    other = replace(experiment, runtime=replace(experiment.runtime, precision="bf16"))
    assert find_folder(other).name == "drawn-pretrain-2"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("seed: 1", "seed: [", "not valid YAML"),
        ("seed: 1", "seed: one", "seed: expected int"),
        ("lr: 1.0e-05", "lr: 0.5", r"its options are not those of the run \(optim.lr is 0.5 and not 1e-05\)"),
    ],
)
def test_a_damaged_record_of_options_stops_its_own_run_and_no_other(
    old: str, new: str, problem: str, experiment: Experiment
) -> None:
    folder = find_folder(experiment)
    open_folder(folder, experiment)
    config = folder / "config.yaml"
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError, match=rf"{problem}.*move the folder away"):
        find_folder(experiment)
    assert find_folder(replace(experiment, optim=OptimOptions(lr=0.25))).name == "drawn-pretrain-2"


def test_a_record_that_is_no_text_is_a_folder_of_something_else(experiment: Experiment) -> None:
    folder = find_folder(experiment)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_bytes(b"\xff\xfe\xff")
    assert find_folder(experiment).name == "drawn-pretrain-2"


@pytest.mark.parametrize("text", ["", "{", "[1]", "7", '{"results": 1}', "\udcff"])
def test_broken_results_are_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=r"results\.json: not the results of a run; remove the file"):
        is_finished(tmp_path)


def test_a_path_that_no_file_system_takes_is_one_short_line(experiment: Experiment) -> None:
    runtime = replace(experiment.runtime, output=Path("x" * 5000))
    with (
        pytest.raises(TrainingError, match="the run folder cannot be written .File name too long") as error,
        enter_folder(replace(experiment, runtime=runtime)),
    ):
        pass
    assert len(str(error.value)) < 400


FORKED = """
import os, sys, time
from pathlib import Path
from tpr.locks import hold_folder
with hold_folder(Path(sys.argv[1])):
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        time.sleep(600)
    time.sleep(600)
"""


def test_a_killed_process_frees_its_folder_though_its_workers_live_on(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORKED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as main:
        assert main.stdout is not None
        worker = int(main.stdout.readline())
        try:
            assert is_held(tmp_path)
            main.kill()
            main.wait()
            os.kill(worker, 0)
            assert not is_held(tmp_path)
        finally:
            main.kill()
            os.kill(worker, signal.SIGKILL)
