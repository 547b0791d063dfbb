"""A parsed data set split as columns in a memory-mapped Arrow table: no Python object per sample.

Columns: image (string, path below the root), identity (int64, as published), camera (int16),
infrared (bool), captions (list of string), attributes (list of int8) and, in a packed corpus, picture
(binary, the file's original bytes). Workers share the mapped pages; only the two index arrays below are
private, 8 bytes per picture each.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tpr.data.sample import Split
from tpr.errors import DataError

IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Corpus:
    """One split of one data set, or of several joined."""

    name: str
    """Data set name; joined sets are joined by '+'."""
    split: Split
    root: Path
    """The data root that image paths are relative to."""
    table: pa.Table
    """The columns; N rows, one per picture."""
    identity: IndexArray
    """(N,) identities: 0..C-1 in training splits, as published elsewhere."""
    caption_offsets: IndexArray
    """(N + 1,) running caption number at which each picture's captions start."""
    has_identities: bool
    """False where the set has no person labels (each picture is its own class)."""
    fingerprint: str
    """Changes whenever the annotation files, the adapter or its options do; keys the token cache."""

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def caption_count(self) -> int:
        """Captions of all pictures together."""
        return int(self.caption_offsets[-1])

    @property
    def identity_count(self) -> int:
        """Distinct identities."""
        return int(len(np.unique(self.identity)))

    def image_path(self, row: int) -> str:
        """Path of one picture below the root."""
        return str(self.table.column("image")[row].as_py())

    def captions(self, row: int) -> list[str]:
        """All captions of one picture."""
        return list(self.table.column("captions")[row].as_py())

    def caption_owners(self) -> IndexArray:
        """(captions,) row of the picture that each caption describes."""
        return np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.caption_offsets))

    def select(self, rows: IndexArray, *, name: str | None = None, split: Split | None = None) -> "Corpus":
        """The same corpus with only these rows, in this order; training identities are numbered anew."""
        identity = self.identity[rows]
        split = split or self.split
        if split == "train":
            identity = np.unique(identity, return_inverse=True)[1].astype(np.int64)
        return replace(
            self,
            name=name or self.name,
            split=split,
            table=self.table.take(pa.array(rows)),
            identity=identity,
            caption_offsets=offsets_of(self.table.column("captions").take(pa.array(rows))),
            fingerprint=f"{self.fingerprint}[{hash_rows(rows)}]",
        )


def offsets_of(captions: pa.ChunkedArray) -> IndexArray:
    """(N + 1,) running number of each picture's first caption, and the total at the end."""
    lengths = pc.list_value_length(captions).to_numpy()
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def hash_rows(rows: IndexArray) -> str:
    """Short name of a selection of rows."""
    import hashlib

    return hashlib.sha256(np.ascontiguousarray(rows).tobytes()).hexdigest()[:12]


def join(corpora: Sequence[Corpus]) -> Corpus:
    """Several training corpora as one; identities of later ones follow those of earlier ones."""
    if len(corpora) == 1:
        return corpora[0]
    roots = {corpus.root for corpus in corpora}
    if len(roots) != 1:
        raise DataError(f"joined data sets must share one data root, got {sorted(map(str, roots))}")
    shifts = np.cumsum([0] + [int(corpus.identity.max()) + 1 for corpus in corpora[:-1]])
    table = pa.concat_tables([corpus.table for corpus in corpora], promote_options="default")
    return replace(
        corpora[0],
        name="+".join(corpus.name for corpus in corpora),
        table=table,
        identity=np.concatenate([c.identity + shift for c, shift in zip(corpora, shifts, strict=True)]),
        caption_offsets=offsets_of(table.column("captions")),
        has_identities=all(corpus.has_identities for corpus in corpora),
        fingerprint="+".join(corpus.fingerprint for corpus in corpora),
    )
