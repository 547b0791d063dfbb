"""Images that lie in the Arrow files of a packed set, each beside the checksum of its bytes."""

from pathlib import Path

import pyarrow as pa

from tpr.data.tables.checksums import Spans, hash_bytes
from tpr.data.tables.corpus import Corpus, map_files
from tpr.errors import DataError

IMAGE = pa.field("picture", pa.large_binary())
CHECKSUM = pa.field("checksum", pa.uint64())
"""xxh3 of the image's bytes; absent or null where a set was packed without."""


def read_packed(corpus: Corpus, row: int) -> bytes | None:
    """The packed file of one image, None where it is loose. DataError if its bytes have changed."""
    names = corpus.table.column_names
    if IMAGE.name not in names:
        return None
    content: bytes | None = corpus.table.column(IMAGE.name)[row].as_py()
    if content is None or CHECKSUM.name not in names:  # a joined set may be loose
        return content
    expected = corpus.table.column(CHECKSUM.name)[row].as_py()
    if expected is not None and hash_bytes(content) != expected:
        raise DataError(f"is damaged{_describe_place(corpus, row)}; pack the dataset again")
    return content


def _describe_place(corpus: Corpus, row: int) -> str:
    """Shard and row of an image, for messages; empty where the corpus does not know them."""
    if corpus.rows is not None:
        row = int(corpus.rows[row])
    for path in corpus.files:
        count = map_files([path]).num_rows
        if row < count:
            return f" (it does not match its checksum in {path}, row {row})"
        row -= count
    return " (it does not match its checksum)"


def find_images(path: Path) -> Spans:
    """Where the images lie in an Arrow file that was just written, batch by batch."""
    content = pa.memory_map(str(path)).read_buffer()
    spans = []
    for batch in pa.ipc.open_file(content).read_all().to_batches():
        if IMAGE.name in batch.schema.names:
            images = batch.column(IMAGE.name).buffers()[-1]
            begin = images.address - content.address
            spans.append((begin, begin + images.size))
    return tuple(spans)
