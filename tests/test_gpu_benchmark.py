"""The command that measures a GPU: without one it runs small, and whatever breaks, the rest is kept."""

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from benchmarks import runner  # noqa: E402
from benchmarks.gpu import scoring  # noqa: E402
from benchmarks.gpu.command import SECTIONS  # noqa: E402


def test_the_gpu_benchmark_wants_a_gpu_or_quick(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert runner.main(["gpu", "--out", str(tmp_path / "out")]) == 2
    assert "--quick" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_section_that_breaks_keeps_what_it_had_and_the_next_one_runs(monkeypatch, tmp_path, capsys):
    def break_off(bench, section):
        section.add_table("half", "what").add("the first row")
        raise RuntimeError("the device is gone")

    monkeypatch.setattr(scoring, "run", break_off)
    words = ["gpu", "--quick", "--section", "scoring", "--section", "ceiling", "--out", str(tmp_path)]
    assert runner.main(words) == 1
    broken, whole = json.loads((tmp_path / "gpu.json").read_text())
    assert broken["tables"][0]["rows"] == [["the first row"]]
    assert broken["error"] == "RuntimeError: the device is gone"
    assert whole["error"] is None and whole["tables"]
    assert "STOPPED by RuntimeError" in (tmp_path / "gpu.md").read_text()


@pytest.mark.slow
def test_the_gpu_benchmark_runs_on_a_cpu(tmp_path, capsys):
    assert runner.main(["gpu", "--quick", "--out", str(tmp_path)]) == 0, capsys.readouterr().out
    found = {section["name"]: section for section in json.loads((tmp_path / "gpu.json").read_text())}
    assert tuple(found) == SECTIONS
    assert all(
        section["tables"] and all(table["rows"] for table in section["tables"]) for section in found.values()
    )
