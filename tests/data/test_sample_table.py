"""Tables of one row per caption: what is written is read, on the device, in a mapped file, over processes."""

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from tests.ranks import run_ranks
from tpr import distributed
from tpr.data.samples.sample_table import SampleTable
from tpr.errors import CheckpointError

INDEX = torch.tensor([4, 0, 2])
ROWS = torch.tensor([[0.25, -1.0], [1.0, 0.5], [0.0, 0.1251]])
STEPS = {"float32": 0.0, "float16": 5e-4, "uint8": 0.5 / 127}


@pytest.mark.parametrize("map_above", [1 << 30, 0], ids=["on the device", "mapped"])
@pytest.mark.parametrize("storage", list(STEPS))
def test_rows_are_read_as_written_and_others_are_unset(storage, map_above):
    table = SampleTable(6, 2, storage=storage, map_above=map_above)
    assert table.read(INDEX).isnan().all()
    table.write(INDEX, ROWS, samples=3)
    found = table.read(torch.arange(6))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found[INDEX], ROWS, atol=STEPS[storage] + 1e-7, rtol=0)
    assert found[[1, 3, 5]].isnan().all()


@pytest.mark.parametrize("map_above", [1 << 30, 0], ids=["on the device", "mapped"])
def test_a_large_table_lies_in_a_file_without_a_name(map_above, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    table = SampleTable(6, 2, map_above=map_above)
    table.write(INDEX, ROWS, samples=3)
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(tmp_path) in line]
    assert len(mapped) == (map_above == 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("storage", list(STEPS))
def test_a_saved_table_is_loaded_bit_for_bit(storage):
    table, other = SampleTable(6, 2, storage=storage), SampleTable(6, 2, storage=storage)
    assert table.save() is None
    table.write(INDEX, ROWS, samples=3)
    other.load(table.save(), torch.device("cpu"))
    assert torch.equal(other.save().nan_to_num(9), table.save().nan_to_num(9))
    other.load(None, torch.device("cpu"))
    assert other.read(INDEX).isnan().all()


def test_a_table_of_other_data_is_refused():
    table = SampleTable(6, 2)
    table.write(INDEX, ROWS, samples=3)
    with pytest.raises(CheckpointError, match=r"is \(6, 2\) torch.float16, this run's is \(7, 2\)"):
        SampleTable(7, 2).load(table.save(), torch.device("cpu"))


def test_filling_sets_every_row():
    table = SampleTable(3, 2, storage="float32")
    table.fill(ROWS)
    assert torch.equal(table.read(torch.arange(3)), ROWS)


def write_on_rank(rank, folder):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    for storage in STEPS:
        table = SampleTable(6, 2, storage=storage)
        share = distributed.local_slice(3)
        table.write(INDEX[share], ROWS[share], samples=3)
        torch.save(table.save(), folder / f"{storage}-{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.ddp
def test_every_process_holds_the_rows_of_all(tmp_path):
    run_ranks(write_on_rank, (tmp_path,))
    for storage in STEPS:
        alone = SampleTable(6, 2, storage=storage)
        alone.write(INDEX, ROWS, samples=3)
        for rank in range(2):
            together = torch.load(tmp_path / f"{storage}-{rank}.pt", weights_only=True)
            assert torch.equal(together.nan_to_num(9), alone.save().nan_to_num(9)), (storage, rank)
