"""The forms that a finished plan can be merged into, each exactly as published.

A form writes its files below a folder and returns how many captions each holds. Nothing is kept per image
but a hash where names must be unique.
"""

import json
import tempfile
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from tpr.captioning.draws import hash_words
from tpr.captioning.merge import Merge, ObjectWriter
from tpr.captioning.plan import CaptionPlan
from tpr.captioning.shards import SCHEMA, parts_path, read_markers
from tpr.data.adapters import ADAPTERS
from tpr.errors import ConfigError, DataError
from tpr.locks import hold_folder
from tpr.whole_files import open_whole, write_whole

PUBLISHED_LABELS = ("qwen", "shikra")
"""Labels of LUPerson-MLLM's four files, which readers of that dataset expect."""
IMAGES_PER_BUCKET = 50_000
"""Images whose captions are in memory at a time while they are brought together by identity."""
FAILURES = "failures.jsonl"
PROVENANCE = "provenance.yaml"


def write_luperson_mllm(merge: Merge) -> dict[str, int]:
    """Ts-LABEL.json (static) and Td-LABEL.json (with a template): {image name: caption}.

    The k-th caption of either sort, counted over all plans, goes to the file of the k-th label.
    """
    columns = assign_files(merge)
    files = claim(merge, sorted(set(columns.values()), key=list(columns.values()).index))
    names = array("Q")
    with ExitStack() as stack:
        writers = {name: ObjectWriter(stack, path) for name, path in files.items()}
        for entry, captions in merge.images():
            name = entry.image.rsplit("/", 1)[-1]
            names.append(hash_words(name))
            for caption in captions:
                writers[columns[caption.plan, caption.view]].add(name, caption.text)
        if len(np.unique(np.frombuffer(names, dtype=np.uint64))) < len(names):
            raise DataError(
                "luperson_mllm: images in different folders have the same name, and this form keeps it "
                "alone; merge into ham_pedes or parquet"
            )
    return {name: writer.count for name, writer in writers.items()}


def assign_files(merge: Merge) -> dict[tuple[int, str], str]:
    """The file of each plan's view."""
    labels = merge.labels or PUBLISHED_LABELS
    columns = {}
    taken: Counter[str] = Counter()
    for number, plan in enumerate(merge.plans):
        for view in plan.views:
            sort = "Td" if view.takes_template else "Ts"
            if taken[sort] == len(labels):
                raise ConfigError(
                    f"luperson_mllm: there are more {sort} captions per image than labels "
                    f"({', '.join(labels)}); --labels names one file of each sort per label"
                )
            columns[number, view.name] = f"{sort}-{labels[taken[sort]]}.json"
            taken[sort] += 1
    return columns


def write_ham_pedes(merge: Merge) -> dict[str, int]:
    """ham_pedes.json: {image path: [captions]}."""
    (path,) = claim(merge, ["ham_pedes.json"]).values()
    shorten = set_folder_remover(merge.plans[0])
    total = 0
    with ExitStack() as stack:
        writer = ObjectWriter(stack, path)
        for entry, captions in merge.images():
            if captions:
                writer.add(merge.prefix + shorten(entry.image), [caption.text for caption in captions])
                total += len(captions)
    return {path.name: total}


def set_folder_remover(plan: CaptionPlan) -> Callable[[str], str]:
    """Takes the folder of a published dataset off its image paths."""
    source = plan.source.get("of", plan.source)
    adapter = ADAPTERS.get(str(source.get("set")))
    folders = getattr(adapter, "folders", ())

    def shorten(image: str) -> str:
        first, _, rest = image.partition("/")
        return rest if rest and first in folders else image

    return shorten


def write_tvi_lfm(merge: Merge) -> dict[str, int]:
    """LABEL/caption_dict_LABEL.json and, with identities, LABEL/id_caption_map_LABEL.json.

    Of rephrased captions LABEL/caption_llm_dict_LABEL.json, which holds them with their sources.
    """
    if len(merge.labels) != 1:
        raise ConfigError("tvi_lfm: --labels needs one name, such as Blip_RGB or Blip_IR")
    (label,) = merge.labels
    view = choose_view(merge)
    plan = merge.plans[0]
    names = [f"{label}/caption_{'llm_' if plan.rephrases else ''}dict_{label}.json"]
    has_map = plan.has_identities and not plan.rephrases
    if has_map:
        names.append(f"{label}/id_caption_map_{label}.json")
    files = claim(merge, names)
    with ExitStack() as stack:
        writer = ObjectWriter(stack, files[names[0]], indent=1)
        for entry, captions in merge.images():
            text = next((caption.text for caption in captions if caption.view == view), None)
            if text is not None:
                value = {"description": text}
                if entry.text is not None:
                    value = {"description": entry.text, "aug_description": text}
                writer.add(merge.prefix + entry.image, value)
    counts = {names[0]: writer.count}
    if has_map:
        counts[names[1]] = write_identity_map(merge, view, files[names[1]])
    return counts


def choose_view(merge: Merge) -> str:
    """The one view that this form has room for."""
    names = [view.name for plan in merge.plans for view in plan.views]
    if merge.view is not None:
        if merge.view not in names:
            raise ConfigError(f"--view: '{merge.view}' is not in the plan; it has {', '.join(names)}")
        return merge.view
    if len(merge.plans) > 1 or len(names) > 1:
        raise ConfigError(
            f"there is room for one caption per image; choose with --view of {', '.join(names)}"
        )
    return names[0]


def write_identity_map(merge: Merge, view: str, path: Path) -> int:
    """{identity: [distinct captions of its images]}, by identity; a part of the identities at a time."""
    identity = merge.plans[0].listing.column("identity").to_numpy()
    people, sizes = np.unique(identity, return_counts=True)
    bucket_of = dict(zip(people.tolist(), (np.cumsum(sizes) // IMAGES_PER_BUCKET).tolist(), strict=True))
    total = 0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=path.parent)))
        writer = ObjectWriter(stack, path, indent=1)
        with ExitStack() as spills:
            numbers = sorted(set(bucket_of.values()))
            files = {n: spills.enter_context((folder / str(n)).open("w", encoding="utf-8")) for n in numbers}
            for entry, captions in merge.images():
                for caption in captions:
                    if caption.view == view and entry.identity is not None:
                        files[bucket_of[entry.identity]].write(
                            json.dumps([entry.identity, caption.text]) + "\n"
                        )
        for number in numbers:
            for person, texts in collect(folder / str(number)):
                writer.add(str(person), texts)
                total += len(texts)
    return total


def collect(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Distinct captions of each identity of one file, in the order of identities."""
    people: dict[int, dict[str, None]] = {}
    with path.open(encoding="utf-8") as file:
        for line in file:
            person, text = json.loads(line)
            people.setdefault(person, {})[text] = None
    for person in sorted(people):
        yield person, list(people[person])


def write_parquet(merge: Merge) -> dict[str, int]:
    """captions.parquet: a row per caption with its provenance."""
    (path,) = claim(merge, ["captions.parquet"]).values()
    path.parent.mkdir(parents=True, exist_ok=True)
    total = 0
    with open_whole(path) as file, pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        for number, plan in enumerate(merge.plans):
            for shard in range(plan.shards):
                if merge.shard_is_done(number, shard):
                    table = read_whole_shard(parts_path(plan, shard))
                    writer.write_table(table)
                    total += table.num_rows
    return {path.name: total}


def read_whole_shard(path: Path) -> pa.Table:
    """All columns of a shard. Raises DataError if it cannot be read."""
    try:
        return pq.read_table(path).replace_schema_metadata(None).cast(SCHEMA)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path}: cannot be read ({' '.join(str(error).split())})") from None


def claim(merge: Merge, names: list[str]) -> dict[str, Path]:
    """Paths of the files to write. Raises ConfigError if one is there: a corpus is not overwritten."""
    paths = {name: merge.out / name for name in names}
    for path in (*paths.values(), merge.out / FAILURES):
        if path.exists():
            raise ConfigError(f"{path}: is there already; choose another --out or remove it")
    return paths


FORMS: dict[str, Callable[[Merge], dict[str, int]]] = dict(
    luperson_mllm=write_luperson_mllm,
    ham_pedes=write_ham_pedes,
    tvi_lfm=write_tvi_lfm,
    parquet=write_parquet,
)


@dataclass(frozen=True)
class Merged:
    """What a merge wrote."""

    files: dict[str, int]
    """Captions of each file."""
    failed: int
    """Lines of the failures file."""


def write_corpus(merge: Merge, form: str) -> Merged:
    """Write a corpus with its failures and its provenance.

    Raises UserError where it cannot be whole, BusyError if another process is at work in its folder.
    """
    merge.out.mkdir(parents=True, exist_ok=True)
    with hold_folder(merge.out):
        return _write_held(merge, form)


def _write_held(merge: Merge, form: str) -> Merged:
    files = FORMS[form](merge)
    wanted = sum(marker.captions for markers in merge.markers for marker in markers.values())
    if FORMS[form] is not write_tvi_lfm and sum(files.values()) != wanted:
        raise DataError(
            f"{merge.out}: {sum(files.values()):,} captions were written, {wanted:,} were finished"
        )
    failed = 0
    with open_whole(merge.out / FAILURES) as file:
        for row in merge.failures():
            file.write(f"{json.dumps(row, ensure_ascii=False)}\n".encode())
            failed += 1
    about = {
        "form": form,
        "files": files,
        "failed": failed,
        "plans": [describe_plan(plan) for plan in merge.plans],
    }
    write_whole(merge.out / PROVENANCE, yaml.safe_dump(about, sort_keys=False, allow_unicode=True))
    return Merged(files, failed)


def describe_plan(plan: CaptionPlan) -> dict[str, Any]:
    """What a corpus should tell of the plan behind it."""
    engines = {json.dumps(marker.engine, sort_keys=True) for marker in read_markers(plan)}
    return {
        "fingerprint": plan.fingerprint,
        "source": plan.source,
        "pictures": plan.images,
        "views": [view.name for view in plan.views],
        "seed": plan.settings.seed,
        "engine": plan.engine.name,
        "made_by": [json.loads(engine) for engine in sorted(engines)],
        "instructions": plan.texts.instructions,
    }
