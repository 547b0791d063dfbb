"""What ends a run is told, and not what fails after it."""

from pathlib import Path

import pytest

from tests.report.run_folders import make_experiment
from tpr.config.schema import ReportOptions
from tpr.errors import TrainingError
from tpr.report.recorder import RunRecorder


def fail() -> None:
    raise TrainingError("the journal cannot be written")


def make_recorder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> RunRecorder:
    experiment = make_experiment(report=ReportOptions(tensorboard=False))
    recorder = RunRecorder(folder, experiment, losses=["sdm"], pairs=8, steps=4)
    recorder.journal.close()
    monkeypatch.setattr(recorder.journal, "close", fail)
    return recorder


def test_the_first_error_is_told_and_not_that_of_closing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TrainingError, match="diverged"), make_recorder(tmp_path, monkeypatch):
        raise TrainingError("the run diverged")


def test_an_error_of_closing_alone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainingError, match="the journal"), make_recorder(tmp_path, monkeypatch):
        pass


def test_the_parts_of_the_loss_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = make_experiment(report=ReportOptions(tensorboard=False))
    shown = []
    with RunRecorder(tmp_path, experiment, losses=["sdm", "id"], pairs=8, steps=4) as recorder:
        recorder.progress.report = lambda text, **values: shown.append(values["parts"])  # type: ignore[method-assign]
        means = {"loss": 3.0, "sdm": 1.0, "id": 2.0, "accuracy": 0.5}
        recorder.record_step(1, 1, means, 0.1, 9.0)
    assert shown == [{"sdm": 1.0, "id": 2.0}]
