"""Features and metrics do not depend on the number of processes, to the last bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from tests.evaluation.toy_world import PairSystem, ProductSystem, make_corpus, make_evaluator, make_pairs
from tests.ranks import run_ranks
from tpr.evaluation import shards
from tpr.evaluation.protocols.text import TextRetrieval
from tpr.evaluation.protocols.visible_infrared import VisibleInfrared

BATCHES = (3, 8, 100)  # many chunks each, one chunk each, and a second process without any


def measure(folder: Path) -> dict[str, Any]:
    """Features of both sides for every batch size, and the results of all sets."""
    shards.SHARD_QUERIES = 4
    corpora = make_corpus(folder, "a"), make_corpus(folder, "bb", images=10, identities=3)
    found: dict[str, Any] = {}
    for batch in BATCHES:
        directions = TextRetrieval.Options(directions=("text_to_image", "image_to_text"))
        evaluator = make_evaluator(
            folder, *corpora, batch=batch, protocols={"text": directions}, intervals=True
        )
        system = ProductSystem()
        for side in ("image", "text"):
            found[f"{batch} {side}"] = evaluator.make_embedder(system, corpora[0]).embed(side)
        results = evaluator.evaluate(system, "test")
        found[f"{batch} results"] = results.to_json()
        found[f"{batch} queries"] = [table.results.first.tolist() for _, table in results.list_queries()]
        rankings = evaluator.list_examples(system, "a", queries=3)
        found[f"{batch} ranking"] = [ranking.rows.tolist() for ranking in rankings]
        for protocol in ("sysu", "regdb", "llcm"):
            options = VisibleInfrared.Options(trials=2, text="oracle")
            pairs = make_pairs(folder, protocol, name=protocol)
            evaluator = make_evaluator(folder, pairs, batch=batch, protocols={"visible_infrared": options})
            found[f"{batch} {protocol}"] = evaluator.evaluate(PairSystem(), "test").to_json()
            rankings = evaluator.list_examples(PairSystem(), protocol, queries=3)
            found[f"{batch} {protocol} ranking"] = [ranking.rows.tolist() for ranking in rankings]
    return found


def measure_on_rank(rank: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.save(measure(folder), folder / f"rank{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.ddp
def test_two_processes_find_what_one_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_QUERIES", 4)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = measure(tmp_path)
    torch.set_num_threads(threads)
    run_ranks(measure_on_rank, (tmp_path,))
    for rank in (0, 1):
        found = torch.load(tmp_path / f"rank{rank}.pt", weights_only=True)
        for name, value in found.items():
            if isinstance(value, torch.Tensor):
                assert np.array_equal(value.numpy(), alone[name].numpy()), (rank, name)
            else:
                assert value == alone[name], (rank, name)
