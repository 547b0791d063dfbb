"""The loader end to end: the same batches for any number of workers, ranks and restarts."""

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.small_corpus import SIZE, make_corpus, make_data
from tpr.config.noise import NoiseOptions
from tpr.config.schema import AugmentOptions
from tpr.data import tokenize
from tpr.data.images.chains import CLIP_CHAIN
from tpr.data.images.reader import decode
from tpr.data.images.shared_pixels import share_pixels
from tpr.data.images.transforms import normalise_pixels
from tpr.data.samples.batch import Batch
from tpr.data.samples.loader import TrainLoader, iterate_captions, iterate_images, read_rows
from tpr.data.samples.views import ImageReader, Views
from tpr.data.samples.workers import Task, Workers
from tpr.data.tables.corpus import Corpus
from tpr.data.text.tokens import CLIP_TOKENIZER
from tpr.errors import ConfigError, DataError

CAPTIONS = [1, 2, 1, 0, 2, 1, 3, 1]  # 11 pairs on 7 of 8 images
OF_SLOTS = {
    "second_images", "infrared_images", "infrared_tokens", "infrared_index", "longest_infrared_caption",
}  # fmt: skip


def make_loader(corpus: Corpus, folder: Path, workers: int = 0, **options: object) -> TrainLoader:
    place = {name: options.pop(name) for name in ("rank", "world", "sampler", "start") if name in options}
    settings = {"seed": 1, "workers": workers, "sampler": "shuffled", "device": "cpu", **place}
    views = Views(attributes=True, plain=True)
    return TrainLoader(corpus, make_data(folder, **options), views, **settings)  # type: ignore[arg-type]


def assert_equal(left: list[Batch], right: list[Batch]) -> None:
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(other[name])), name  # type: ignore[literal-required]


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return make_corpus(tmp_path, CAPTIONS)


@pytest.mark.parametrize("unit", ["pair", "image"])
def test_batches_are_equal_for_any_number_of_workers(corpus: Corpus, tmp_path: Path, unit: str) -> None:
    options = {"unit": unit, "captions_per_image": 2 if unit == "image" else 1}
    loaders = [make_loader(corpus, tmp_path, workers, **options) for workers in (0, 2, 8)]
    for epoch in (1, 2):
        batches = [list(loader.epoch(epoch)) for loader in loaders]
        assert_equal(batches[0], batches[1])
        assert_equal(batches[0], batches[2])
    assert not torch.equal(batches[0][0]["sample_index"], next(iter(loaders[0].epoch(1)))["sample_index"])


def test_an_epoch_holds_every_pair_once_with_all_entries(corpus: Corpus, tmp_path: Path) -> None:
    loader = make_loader(corpus, tmp_path)
    batches = list(loader.epoch(1))
    assert len(loader) == len(batches) == 3
    assert [batch["global_size"] for batch in batches] == [4, 4, 3]
    numbers = torch.cat([batch["sample_index"] for batch in batches])
    assert sorted(numbers.tolist()) == list(range(11))
    for batch in batches:
        assert set(batch) == {name for name in Batch.__annotations__ if name not in OF_SLOTS}
        assert batch["images"].shape == (batch["global_size"], 3, *SIZE)
        assert batch["images"].dtype == torch.float32
        assert batch["plain_images"].dtype == torch.float32
        for row, pixels in zip(batch["image_index"].tolist(), batch["plain_images"], strict=True):
            whole = CLIP_CHAIN.resize(decode((tmp_path / f"{row}.jpg").read_bytes()), SIZE)
            assert torch.equal(pixels, normalise_pixels(whole[None], CLIP_CHAIN)[0])
        assert batch["attributes"].shape == (batch["global_size"], 3)
        captions = [caption for row in batch["image_index"].tolist() for caption in corpus.captions(row)[:1]]
        first = batch["caption_index"] == torch.from_numpy(corpus.caption_offsets)[batch["image_index"]]
        assert torch.equal(batch["tokens"][first], tokenize(captions, 12)[first])
        assert torch.equal(batch["identity"], torch.from_numpy(corpus.identity)[batch["image_index"]])


@pytest.mark.parametrize("world", [2, 3, 8])
def test_ranks_together_have_the_batch_of_one_process(corpus: Corpus, tmp_path: Path, world: int) -> None:
    whole = list(make_loader(corpus, tmp_path).epoch(3))
    ranks = [list(make_loader(corpus, tmp_path, rank=rank, world=world).epoch(3)) for rank in range(world)]
    for step, batch in enumerate(whole):
        parts = [batches[step] for batches in ranks]
        assert {part["global_size"] for part in parts} == {batch["global_size"]}
        for name in ("images", "tokens", "sample_index", "identity", "text_identity", "attributes"):
            together = torch.cat([part[name] for part in parts])  # type: ignore[literal-required]
            assert torch.equal(together, batch[name]), name  # type: ignore[literal-required]


def test_an_epoch_continues_in_its_middle_without_decoding(corpus: Corpus, tmp_path: Path) -> None:
    whole = list(make_loader(corpus, tmp_path).epoch(2))
    needed = {int(row) for batch in whole[1:] for row in batch["image_index"]}
    for row in range(len(corpus)):
        if row not in needed:
            (tmp_path / f"{row}.jpg").unlink()
    for workers in (0, 2):
        assert_equal(list(make_loader(corpus, tmp_path, workers).epoch(2, 1)), whole[1:])
    assert list(make_loader(corpus, tmp_path).epoch(2, 3)) == []


def test_an_abandoned_epoch_does_not_disturb_the_next(corpus: Corpus, tmp_path: Path) -> None:
    loader = make_loader(corpus, tmp_path, workers=2)
    next(loader.epoch(1))
    assert_equal(list(loader.epoch(2)), list(make_loader(corpus, tmp_path).epoch(2)))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_workers_outlive_a_signal_to_all_processes_of_a_run(
    number: signal.Signals, corpus: Corpus, tmp_path: Path
) -> None:
    expected = list(make_loader(corpus, tmp_path).epoch(1))
    before = set(multiprocessing.active_children())
    loader = make_loader(corpus, tmp_path, workers=2)
    batches = loader.epoch(1)
    # One of each worker: both are past their start.
    found = [next(batches), next(batches)]
    workers = set(multiprocessing.active_children()) - before
    assert len(workers) == 2
    for worker in workers:
        assert worker.pid is not None
        os.kill(worker.pid, number)
    assert_equal([*found, *batches], expected)
    assert_equal(list(loader.epoch(1)), expected)
    del batches, loader
    for worker in workers:
        worker.join(10)
        assert worker.exitcode == 0


@pytest.mark.parametrize("workers", [0, 1])
def test_torchs_generator_is_left_alone(corpus: Corpus, tmp_path: Path, workers: int) -> None:
    loader = make_loader(corpus, tmp_path, workers)
    state = torch.get_rng_state()
    list(loader.epoch(1))
    list(
        iterate_images(corpus, make_data(tmp_path), batch=3, workers=workers, device="cpu", chain=CLIP_CHAIN)
    )
    assert torch.equal(torch.get_rng_state(), state)


def test_the_identity_sampler_gives_p_times_k(corpus: Corpus, tmp_path: Path) -> None:
    loader = make_loader(corpus, tmp_path, sampler="identity", images_per_identity=2)
    batches = list(loader.epoch(1))
    assert len(batches) == len(loader) == 2
    for batch in batches:
        pairs = batch["identity"].reshape(2, 2)
        assert torch.equal(pairs[:, 0], pairs[:, 1])
        assert pairs[0, 0] != pairs[1, 0]


def test_a_set_without_identities_refuses_their_sampler(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, [1, 1, 1, 1], has_identities=False)
    with pytest.raises(ConfigError, match="data.sampler=identity needs person labels; small_set has none"):
        make_loader(corpus, tmp_path, sampler="identity", images_per_identity=2)


def test_a_batch_larger_than_the_corpus_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="data.batch=12 is larger than small_set, which has 11 training samples"
    ):
        make_loader(corpus, tmp_path, batch=12)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_image_arrives_as_one_clean_line(corpus: Corpus, tmp_path: Path, workers: int) -> None:
    (tmp_path / "4.jpg").write_bytes((tmp_path / "4.jpg").read_bytes()[:300])
    with pytest.raises(
        DataError, match=r"^small_set: .*/4.jpg is truncated or damaged .*on_bad_image=skip$"
    ) as caught:
        list(make_loader(corpus, tmp_path, workers).epoch(1))
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"^small_set: .*/4.jpg is truncated or damaged"):
        list(
            iterate_images(
                corpus, make_data(tmp_path), batch=3, workers=workers, device="cpu", chain=CLIP_CHAIN
            )
        )


@pytest.mark.parametrize("workers", [0, 2])
def test_skipped_images_are_counted_and_logged(
    corpus: Corpus, tmp_path: Path, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "4.jpg").write_bytes(b"text")
    loader = make_loader(corpus, tmp_path, workers, on_bad_image="skip")
    batches = list(loader.epoch(1))
    assert loader.skipped == 2
    rows = torch.cat([batch["image_index"] for batch in batches]).tolist()
    assert sorted(rows) == [0, 1, 1, 2, 5, 5, 5, 6, 6, 6, 7]
    assert (
        sum("is not an image" in line and "a neighbour takes its place" in line for line in caplog.messages)
        == 2
    )


def test_no_warning_escapes_with_more_workers_than_cores(corpus: Corpus, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(make_loader(corpus, tmp_path, workers=9).epoch(1))) == 3


@pytest.mark.parametrize("workers", [0, 2])
def test_a_survey_has_an_order_of_its_own_and_images_as_they_are_where_asked(
    corpus: Corpus, tmp_path: Path, workers: int
) -> None:
    loader = make_loader(corpus, tmp_path, workers)
    passes = [list(loader.epoch(2)), list(loader.survey(2)), list(loader.survey(2, augment=False))]
    orders = [torch.cat([batch["sample_index"] for batch in batches]) for batches in passes]
    assert sorted(orders[1].tolist()) == sorted(orders[0].tolist())
    assert not torch.equal(orders[1], orders[0])
    assert torch.equal(orders[2], orders[1])
    for batch, other in zip(passes[2], passes[1], strict=True):
        assert torch.equal(batch["images"], batch["plain_images"])
        assert not torch.equal(other["images"], other["plain_images"])


def test_erasing_and_normalising_happen_after_the_geometry(corpus: Corpus, tmp_path: Path) -> None:
    plain = make_loader(corpus, tmp_path, augment=AugmentOptions(flip=0, pad=0, erase=0))
    for batch in plain.epoch(1):
        for image, row in zip(batch["images"], batch["image_index"].tolist(), strict=True):
            pixels = CLIP_CHAIN.resize(decode((tmp_path / f"{row}.jpg").read_bytes()), SIZE)
            assert torch.equal(image, normalise_pixels(pixels[None], CLIP_CHAIN)[0])
    erased = make_loader(corpus, tmp_path, augment=AugmentOptions(flip=0, pad=0, erase=1))
    for with_boxes, without in zip(erased.epoch(1), plain.epoch(1), strict=True):
        share = (with_boxes["images"] != without["images"]).float().mean(dim=(1, 2, 3))
        assert ((share > 0.01) & (share < 0.5)).all()


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_images_come_in_order_without_augmentation(
    corpus: Corpus, tmp_path: Path, workers: int
) -> None:
    data = make_data(tmp_path)
    batches = list(iterate_images(corpus, data, batch=3, workers=workers, device="cpu", chain=CLIP_CHAIN))
    assert [len(batch["images"]) for batch in batches] == [3, 3, 2]
    assert torch.cat([batch["image_index"] for batch in batches]).tolist() == list(range(8))
    assert torch.cat([batch["identity"] for batch in batches]).tolist() == corpus.identity.tolist()
    images = torch.cat([batch["images"] for batch in batches])
    for row in range(8):
        pixels = CLIP_CHAIN.resize(decode((tmp_path / f"{row}.jpg").read_bytes()), SIZE)
        assert torch.equal(images[row], normalise_pixels(pixels[None], CLIP_CHAIN)[0])
    some = list(
        iterate_images(
            corpus, data, batch=3, workers=workers, device="cpu", indices=np.array([5, 0]), chain=CLIP_CHAIN
        )
    )
    assert torch.equal(some[0]["images"], images[[5, 0]])
    assert some[0]["image_index"].tolist() == [5, 0]


def test_evaluation_captions_come_in_order_with_their_images(corpus: Corpus, tmp_path: Path) -> None:
    batches = list(
        iterate_captions(corpus, make_data(tmp_path), batch=4, device="cpu", tokenizer=CLIP_TOKENIZER)
    )
    assert [len(batch["tokens"]) for batch in batches] == [4, 4, 3]
    flat = [caption for row in range(8) for caption in corpus.captions(row)]
    assert torch.equal(torch.cat([batch["tokens"] for batch in batches]), tokenize(flat, 12))
    owner = torch.cat([batch["owner"] for batch in batches])
    assert owner.tolist() == corpus.caption_owners().tolist()
    assert (
        torch.cat([batch["text_identity"] for batch in batches]).tolist() == corpus.identity[owner].tolist()
    )
    (some,) = iterate_captions(
        corpus,
        make_data(tmp_path),
        batch=4,
        device="cpu",
        indices=np.array([10, 3]),
        tokenizer=CLIP_TOKENIZER,
    )
    assert some["caption_index"].tolist() == [10, 3]
    assert some["owner"].tolist() == [7, 2]
    assert some["longest_caption"] == 6


FAILING = "an_unforeseen_error lies in wait"


class Failing(ImageReader):
    """Fails at one image in the way it is told."""

    def __init__(self, corpus: Corpus, folder: Path, how: str) -> None:
        super().__init__(corpus, make_data(folder), CLIP_CHAIN)
        self.how = how

    def read(self, row: int) -> torch.Tensor:
        if row == 4:
            self.fail()
        return super().read(row)

    def fail(self) -> None:
        class OwnError(Exception):
            """Cannot be sent to another process."""

            def __init__(self, one: int, other: int) -> None:
                super().__init__(FAILING)

        if self.how == "own":
            raise OwnError(1, 2)
        if self.how == "memory":
            raise MemoryError
        if self.how == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        if self.how == "exit":
            os._exit(3)
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ("own", RuntimeError, f"an error in a loader worker\n\nTraceback(.|\n)*OwnError: {FAILING}"),
        ("memory", DataError, "no room .not enough memory.; lower runtime.workers .*--shm-size=1g"),
        ("full", DataError, "no room .No space left on device.; lower runtime.workers .*--shm-size=1g"),
        ("killed", DataError, "a loader worker was lost .*killed by signal: Killed.*lower runtime.workers"),
        ("exit", DataError, "a loader worker was lost .*exited unexpectedly .*3.*with runtime.workers=0"),
    ],
)
def test_any_failure_of_a_worker_ends_all_workers_and_is_told(
    corpus: Corpus, tmp_path: Path, how: str, error: type[Exception], message: str
) -> None:
    before = set(multiprocessing.active_children())
    workers = Workers(partial(read_rows, Failing(corpus, tmp_path, how)), 2, torch.device("cpu"))
    kept: list[object] = []
    with pytest.raises(error, match=message):
        for work in workers.run([Task(np.arange(start, start + 2)) for start in range(0, 8, 2)]):
            kept.append(work)
    assert set(multiprocessing.active_children()) <= before, "though the error still refers to the loader"


def test_workers_that_cannot_be_started_are_one_line(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object, **named: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("multiprocessing.synchronize.SemLock.__init__", fail)
    with pytest.raises(
        DataError, match="^the loader workers have no room .No space.*runtime.workers.*--shm-size"
    ):
        next(make_loader(corpus, tmp_path, workers=1).epoch(1))


def test_pixels_go_through_an_unnamed_file_where_memory_has_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = torch.arange(24, dtype=torch.uint8).reshape(2, 3, 4).permute(0, 2, 1)
    for lacks in (False, True):
        if lacks:
            monkeypatch.delattr(os, "memfd_create", raising=False)
        found = share_pixels(pixels).open()
        assert torch.equal(found, pixels)
        assert found.stride() == pixels.stride()
    assert share_pixels(pixels[:0].clone()).open().shape == (0, 4, 3)


@pytest.mark.slow
@pytest.mark.parametrize(("start", "folded"), [("forkserver", False), ("forkserver", True), ("spawn", True)])
def test_batches_are_equal_however_workers_start(
    corpus: Corpus, tmp_path: Path, start: str, folded: bool
) -> None:
    options: dict[str, object] = {"noise": NoiseOptions(rate=0.5)}
    if folded:
        corpus = corpus.select(np.array([0, 1, 3, 4, 6, 7]))
    expected = make_loader(corpus, tmp_path, **options)
    loader = make_loader(corpus, tmp_path, 2, start=start, **options)
    for epoch in (1, 2):
        assert_equal(list(loader.epoch(epoch)), list(expected.epoch(epoch)))
    found = iterate_images(
        corpus, make_data(tmp_path), batch=3, workers=1, device="cpu", start=start, chain=CLIP_CHAIN
    )
    assert_equal(
        list(found),
        list(iterate_images(corpus, make_data(tmp_path), batch=3, workers=0, device="cpu", chain=CLIP_CHAIN)),
    )


PROGRAM = '''
"""Reads with workers, and says when they are up."""
import os, pickle, sys, time
import torch
from functools import partial
from tpr.data.samples.workers import Task, Work, Workers

def work(how, task):
    if how == "fail" and task.epoch == 3:
        raise KeyError("made up")
    return Work({"images": torch.tensor([os.getpid()] , dtype=torch.int64).view(torch.uint8)})

if __name__ == "__main__":
    workers = Workers(partial(work, sys.argv[1]), 2, torch.device("cpu"))
    tasks = [Task(torch.zeros(1).numpy(), epoch) for epoch in range(8)]
    for number, found in enumerate(workers.run(tasks)):
        print(found.entries["images"].view(torch.int64).item(), flush=True)
        if number == 1 and sys.argv[1] == "wait":
            time.sleep(600)
'''


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[[str], "subprocess.Popen[str]"]]:
    """Starts PROGRAM, and ends it whatever happens."""
    (tmp_path / "program.py").write_text(PROGRAM)
    started: list[subprocess.Popen[str]] = []

    def run(how: str) -> "subprocess.Popen[str]":
        words = [sys.executable, str(tmp_path / "program.py"), how]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, env=dict(os.environ)))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_a_program_whose_worker_failed_ends_by_itself(
    program: Callable[[str], "subprocess.Popen[str]"],
) -> None:
    out, err = program("fail").communicate(timeout=300)
    assert err.endswith("KeyError: 'made up'\n\n")
    assert len(out.split()) == 3


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_its_program(
    program: Callable[[str], "subprocess.Popen[str]"], number: signal.Signals
) -> None:
    process = program("wait")
    assert process.stdout is not None
    workers = [int(process.stdout.readline()) for _ in range(2)]
    process.send_signal(number)
    assert process.wait(300) == -number
    until = time.monotonic() + 300
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_reach_the_gpu_unchanged(corpus: Corpus, tmp_path: Path) -> None:
    host = list(make_loader(corpus, tmp_path).epoch(1))
    data = make_data(tmp_path)
    loader = TrainLoader(
        corpus, data, Views(attributes=True), seed=1, workers=2, sampler="shuffled", device="cuda"
    )
    for one, other in zip(host, loader.epoch(1), strict=True):
        assert other["images"].is_cuda
        assert torch.allclose(one["images"], other["images"].cpu())
        assert torch.equal(one["tokens"], other["tokens"].cpu())
