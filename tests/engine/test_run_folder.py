from dataclasses import replace
from pathlib import Path

import pytest

from tpr.config.schema import Choice, Experiment, OptimOptions, RuntimeOptions
from tpr.engine import run_folder
from tpr.engine.claim import find_folder
from tpr.engine.run_folder import open_folder, read_fingerprint
from tpr.errors import TrainingError
from tpr.models.clip import ClipOptions
from tpr.systems import SYSTEMS


@pytest.fixture
def experiment(tmp_path):
    return Experiment(
        name="drawn-pretrain",
        system=Choice("irra", SYSTEMS["irra"].Options()),
        model=Choice("clip", ClipOptions()),
        runtime=RuntimeOptions(output=tmp_path / "runs"),
    )


def test_the_same_configuration_finds_its_folder_again(experiment):
    folder = find_folder(experiment)
    assert folder.name == "drawn-pretrain"
    open_folder(folder, experiment)
    assert find_folder(experiment) == folder


def test_options_of_the_machine_do_not_make_another_run(experiment):
    folder = find_folder(experiment)
    open_folder(folder, experiment)
    moved = replace(experiment, runtime=replace(experiment.runtime, workers=9, max_steps=5))
    assert find_folder(moved) == folder


def test_another_configuration_gets_the_next_number_and_nothing_is_overwritten(experiment):
    open_folder(find_folder(experiment), experiment)
    other = replace(experiment, optim=OptimOptions(lr=0.5))
    second = find_folder(other)
    assert second.name == "drawn-pretrain-2"
    open_folder(second, other)
    assert find_folder(other) == second
    assert find_folder(experiment).name == "drawn-pretrain"


def test_resume_never_starts_a_new_folder(experiment):
    open_folder(find_folder(experiment), experiment)
    fresh = replace(experiment, runtime=replace(experiment.runtime, resume="never"))
    assert find_folder(fresh).name == "drawn-pretrain-2"


def test_config_of_a_run_folder_reproduces_the_run(experiment):
    from tpr.config.reader import read_tree
    from tpr.config.typed import build_experiment, fill_protocols
    from tpr.systems import TABLES

    experiment = fill_protocols(experiment, TABLES)
    folder = find_folder(experiment)
    open_folder(folder, experiment)
    named = replace(experiment, name=folder.name)
    assert build_experiment(read_tree(folder / "config.yaml"), TABLES) == named
    assert find_folder(build_experiment(read_tree(folder / "config.yaml"), TABLES)) == folder


def test_a_folder_of_something_else_is_left_alone(experiment):
    foreign = experiment.runtime.output / "drawn-pretrain"
    foreign.mkdir(parents=True)
    assert read_fingerprint(foreign) is None
    assert find_folder(experiment).name == "drawn-pretrain-2"


def test_a_run_folder_that_cannot_be_written_is_one_line(experiment, monkeypatch):
    def refuse(path, content):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(run_folder, "write_whole", refuse)
    with pytest.raises(TrainingError, match=r"pretrain: .*Read-only file system.*runtime\.output=FOLDER"):
        open_folder(Path(find_folder(experiment)), experiment)
