"""TensorBoard events of a run, in the run folder itself."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt


class Board:
    """A thin writer; curves of a resumed run go on where the checkpoint stood."""

    def __init__(self, folder: Path, *, after_step: int | None = None) -> None:
        """after_step: TensorBoard forgets what a run that was killed wrote beyond this step."""
        # Imported here: it takes a second, and commands that write no events need not wait for it.
        from torch.utils.tensorboard import SummaryWriter

        purge = None if after_step is None else after_step + 1
        self.writer = SummaryWriter(str(folder), purge_step=purge)  # type: ignore[no-untyped-call]

    def add_scalars(self, values: Mapping[str, float], step: int) -> None:
        """One point on each curve."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)  # type: ignore[no-untyped-call]

    def add_image(self, name: str, pixels: npt.NDArray[np.uint8], step: int) -> None:
        """pixels: (H, W, 3) uint8."""
        self.writer.add_image(name, pixels, step, dataformats="HWC")  # type: ignore[no-untyped-call]

    def flush(self) -> None:
        """Put everything on disk."""
        self.writer.flush()  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Flush and end."""
        self.writer.close()  # type: ignore[no-untyped-call]
