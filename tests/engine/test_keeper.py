"""What is kept of a run that diverges, and of one that is killed while a state is on trial."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tpr.engine import keeper as keeping
from tpr.engine.keeper import Keeper

NOTHING = "nothing was saved yet from which a good step was taken"


def make_state(step: int) -> dict[str, Any]:
    return {"model": {"weight": torch.full((3,), float(step))}, "step": step}


def read_step(folder: Path, name: str = "last.pt") -> int:
    step: int = torch.load(folder / name, weights_only=True)["step"]
    return step


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_good_step_proves_a_state_and_only_one_that_came_after_it(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path)
    keeper.save("last.pt", make_state(4), 4)
    keeper.prove(4)
    assert keeper.trial_step == 4
    keeper.prove(5)
    assert keeper.trial_step is None
    assert list_names(tmp_path) == ["last.pt"]


def test_what_a_state_on_trial_replaced_is_put_back(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path)
    for name in ("best.pt", "last.pt"):
        keeper.save(name, make_state(2), 2)
    keeper.prove(3)
    for step in (4, 5):
        for name in ("best.pt", "last.pt"):
            keeper.save(name, make_state(step), step)
    assert read_step(tmp_path) == 5
    kept = f"{tmp_path / 'last.pt'} holds step 2, the newest state from which a good step was taken"
    assert keeper.give_up() == kept
    assert (read_step(tmp_path), read_step(tmp_path, "best.pt")) == (2, 2)
    assert list_names(tmp_path) == ["best.pt", "last.pt"]


def test_of_a_run_that_diverges_at_once_nothing_is_kept(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path)
    assert keeper.give_up() == NOTHING
    keeper.save("best.pt", make_state(1), 1)
    keeper.save("last.pt", make_state(1), 1)
    assert keeper.give_up() == NOTHING
    assert list_names(tmp_path) == []


def test_a_trial_outlives_its_process(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path)
    keeper.save("last.pt", make_state(2), 2)
    keeper.prove(3)
    keeper.save("last.pt", make_state(6), 6)
    second = Keeper(tmp_path)
    second.take_up(6)
    assert read_step(tmp_path) == 6
    assert "holds step 2" in second.give_up()


def test_without_a_trial_a_taken_up_state_is_sound(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path)
    keeper.save("last.pt", make_state(2), 2)
    keeper.accept()
    second = Keeper(tmp_path)
    second.take_up(2)
    assert "holds step 2" in second.give_up()


def test_a_best_that_is_ahead_of_the_last_state_is_put_back_at_the_next_start(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path)
    keeper.save("best.pt", make_state(2), 2)
    keeper.save("last.pt", make_state(2), 2)
    keeper.accept()
    keeper.save("best.pt", make_state(4), 4)
    Keeper(tmp_path).take_up(2)
    assert read_step(tmp_path, "best.pt") == 2
    assert list_names(tmp_path) == ["best.pt", "last.pt"]


def test_file_systems_without_hard_links_keep_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(keeping.os, "link", refuse)
    keeper = Keeper(tmp_path)
    keeper.save("last.pt", make_state(2), 2)
    keeper.accept()
    keeper.save("last.pt", make_state(4), 4)
    assert "holds step 2" in keeper.give_up()
    assert read_step(tmp_path) == 2
