"""Images of a plan that lie in a packed corpus instead of in files."""

from pathlib import Path

from tpr.captioning.listing import PACKED, ListedImage, load_source
from tpr.captioning.plan import CaptionPlan
from tpr.errors import DataError


class PackedImages:
    """The images of a plan in a packed dataset."""

    def __init__(self, plan: CaptionPlan, root: Path) -> None:
        """Raises DataError unless the dataset below `root` is packed as it was when the plan was made."""
        self.corpus = load_source(plan.source, root)
        is_packed = PACKED in self.corpus.table.column_names
        if self.corpus.fingerprint != plan.source["fingerprint"] or not is_packed:
            raise DataError(
                f"{root}: its packed '{plan.source['set']}' is not the one that the plan was made with; "
                "--root names another folder, or make a new plan"
            )

    def read(self, entry: ListedImage) -> bytes:
        """The file of one image."""
        from tpr.data.images.reader import read_bytes

        assert entry.row is not None
        return read_bytes(self.corpus, entry.row)
