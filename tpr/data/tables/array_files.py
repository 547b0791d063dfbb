"""Published .npy files: mapped, never unpickled, and refused in one line."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tpr.errors import DataError, first_line

MAGIC = b"\x93NUMPY"


def map_array_file(path: Path) -> npt.NDArray[Any]:
    """The array in a .npy file, mapped and read-only. Raises DataError that begins with the path."""
    try:
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise DataError(f"{path} is no .npy file")
        with warnings.catch_warnings():
            # A broken header makes Python's own reader warn of it before it fails.
            warnings.simplefilter("ignore")
            # Mapped, so that a header that promises too much is found out before anything is allocated.
            return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or first_line(error)}") from None
    except Exception as error:
        # A header is read as a Python literal, where wrong ones fail in a dozen ways, from tokens to types.
        raise DataError(f"{path} cannot be read: {first_line(error)}; fetch the file again") from None
