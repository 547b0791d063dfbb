"""Files of the same form stand in for the fixtures: cases in another order, and one of each list left out."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.parity.fixtures import FOLDER

ROOT = Path(__file__).parents[2]
LISTS = {
    "metrics": ["rank", "losses", "tokens"],
    "visible_infrared_rde": ["vi", "rde"],
    "reid": ["rank"],
    "rde": ["division", "split", "text_augmentation", "noise_index"],
    "mllm4text": ["masking"],
    "tvi_lfm": ["wrt", "stretch", "gem.cases", "augmentation.cases"],
}
"""Cases by fixture that do not depend on each other."""
TESTS = (
    ["tests/parity/test_losses.py", "tests/parity/test_metrics.py", "tests/parity/test_reid.py"]
    + ["tests/parity/test_visible_infrared_data.py", "tests/parity/test_visible_infrared_protocols.py"]
    + [f"tests/parity/test_rde.py::test_{name}" for name in ("division", "text_augmentation", "noise_index")]
    + ["tests/parity/test_rde.py::test_losses_per_sample", "tests/data/test_tokens.py"]
    + ["tests/parity/test_mllm4text.py::test_probabilities_and_masked_captions"]
    + [f"tests/parity/test_tvi_lfm.py::test_{name}" for name in ("weighted_triplet", "stretched_columns")]
    + ["tests/parity/test_tvi_lfm.py::test_generalised_mean"]
)


def mutate(content: dict[str, Any], lists: list[str]) -> None:
    """Turn each list of cases around, without its first."""
    for name in lists:
        *path, last = name.split(".")
        owner = content
        for part in path:
            owner = owner[part]
        owner[last] = owner[last][:0:-1]


@pytest.mark.slow
def test_the_parity_tests_pass_on_mutated_copies(tmp_path: Path) -> None:
    for file in FOLDER.glob("*.json"):
        content = json.loads(file.read_text())
        mutate(content, LISTS.get(file.stem, []))
        (tmp_path / file.name).write_text(json.dumps(content))
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *TESTS]
    environment = {**os.environ, "TPR_PARITY": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout and "skipped" not in done.stdout
