"""From an image's bytes to pixels: torchvision's JPEG decoder, and Pillow for everything it does not take.

Size is read from the header before anything is decoded, so a decompression bomb costs nothing. EXIF
orientation is ignored, as in the published loaders. An image may also be one of an array: the path
`images.npy#17` is its 18th, and its bytes are a PPM file of the same pixels.
"""

import io
import re
import warnings
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torchvision.io  # noqa: F401  registers torch.ops.image
from PIL import Image, UnidentifiedImageError, features
from torch import Tensor

from tpr.data.images.packed import read_packed
from tpr.data.tables.array_files import map_array_file
from tpr.data.tables.corpus import Corpus
from tpr.errors import DataError

MOST_PIXELS = 50_000_000
"""Default of `data.max_image_pixels`."""

AVIF = ("AVIF",) if "avif" in features.get_supported() else ()
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", *AVIF)
"""What Pillow may open: file types that person datasets use, and none that runs a program."""

OTHER_FORMATS = {
    "an AVIF": re.compile(rb".{4}ftyp(avi[fs]|(mif1|msf1).{4}(.{4})*?avi[fs])", re.DOTALL),
    "an HEIC": re.compile(rb".{4}ftyp(he[im][cxsm]|hev[cx]|mif1|msf1)", re.DOTALL),
    "a JPEG XL": re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "),
    "a JPEG 2000": re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
}
"""How files begin that are images all the same, where they are not read."""
MAGIC_BYTES = 64

MOST_HEADER_READS = 10_000
"""Reads of a header, which ends before the pixels; Pillow reads comments byte by byte or piece by piece."""
MOST_JPEG_SEGMENTS = 1_000
"""The same for a JPEG's segments, of which a camera writes a few dozen."""
MOST_JPEG_HEADER = 32 * 2**20
"""Bytes before a JPEG's pixels; a telephone's depth maps take a few MB."""
PLAIN_KINDS = (b"P1", b"P2", b"P3")
PLAIN_COMMENT = re.compile(rb"#[^\r\n]*")

RGB_MODE = torchvision.io.ImageReadMode.RGB.value


ARRAY_IMAGE = re.compile(r"(.+\.npy)#(\d+)")


class JpegHeader(NamedTuple):
    """Size and kind of a JPEG, from its frame header."""

    height: int
    width: int
    components: int
    bits: int


def read_bytes(corpus: Corpus, row: int) -> bytes:
    """The file of one image, from the packed column or from below the root.

    Raises DataError if it is missing, or if a packed one does not match its checksum.
    """
    packed = read_packed(corpus, row)
    if packed is not None:
        return packed
    image = corpus.image_path(row)
    stored = ARRAY_IMAGE.fullmatch(image)
    if stored is not None:
        return _read_array_image(corpus.root / stored[1], int(stored[2]))
    try:
        return Path(corpus.root, image).read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})") from None


def _read_array_image(path: Path, number: int) -> bytes:
    pixels = _find_array_image(path, number)
    content: bytes = pixels.tobytes()
    return _make_header(pixels) + content


def _find_array_image(path: Path, number: int) -> npt.NDArray[np.uint8]:
    pixels = map_images(path)
    if number >= len(pixels):
        raise DataError(f"cannot be read (the array holds {len(pixels):,} images)")
    found: npt.NDArray[np.uint8] = pixels[number]
    return found


def _make_header(pixels: npt.NDArray[np.uint8]) -> bytes:
    height, width, _ = pixels.shape
    return b"P6 %d %d 255\n" % (width, height)


@lru_cache(maxsize=8)
def map_images(path: Path) -> npt.NDArray[np.uint8]:
    """(N, H, W, 3) uint8 images of a .npy file; DataError if it holds anything else."""
    try:
        pixels = map_array_file(path)
    except DataError as error:
        raise DataError(f"cannot be read ({error})") from None
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3:
        raise DataError(
            f"cannot be read ({path} holds {pixels.dtype} of shape {list(pixels.shape)}, "
            "expected uint8 of N x height x width x 3)"
        )
    return pixels


def measure_image(root: Path, image: str) -> int:
    """Bytes of a loose image, or of one in an array. Raises OSError or DataError where it is missing."""
    stored = ARRAY_IMAGE.fullmatch(image)
    if stored is None:
        return Path(root, image).stat().st_size
    pixels = _find_array_image(root / stored[1], int(stored[2]))
    return len(_make_header(pixels)) + pixels.nbytes


def decode(data: bytes, *, max_pixels: int = MOST_PIXELS) -> Tensor:
    """(3, H, W) uint8 RGB pixels; the first frame of an animation, the high byte of 16 bits.

    Raises DataError in one line for an empty, truncated or foreign file and for more than `max_pixels`.
    """
    if not data:
        raise DataError("is empty (0 bytes)")
    header = read_jpeg_header(data)
    if header is not None:
        check_size(header.height, header.width, max_pixels)
        if header.components in (1, 3) and header.bits == 8:
            try:
                # The op below torchvision's deprecated wrapper; mode and orientation as whole numbers.
                encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
                pixels: Tensor = torch.ops.image.decode_jpeg(encoded, RGB_MODE, False)
                return pixels
            except RuntimeError:
                pass  # Pillow reads some files that this decoder refuses, and words its errors better.
    return _decode_by_pillow(data, max_pixels)


def read_jpeg_header(data: bytes) -> JpegHeader | None:
    """The first frame header of a JPEG; None for another format or a header that is not plain.

    Raises DataError where too much stands before it.
    """
    if data[:2] != b"\xff\xd8":
        return None
    position = 2
    for _ in range(MOST_JPEG_SEGMENTS):
        if position + 9 >= len(data) or data[position] != 0xFF:
            return None
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height = int.from_bytes(data[position + 5 : position + 7], "big")
            width = int.from_bytes(data[position + 7 : position + 9], "big")
            header = JpegHeader(height, width, data[position + 9], data[position + 4])
            return header if height and width else None
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if position > MOST_JPEG_HEADER:
            break
    raise DataError(
        f"has more than {MOST_JPEG_SEGMENTS:,} segments or {MOST_JPEG_HEADER:,} bytes before its pixels; "
        "save it again without its comments and metadata"
    )


class HeaderReader(io.BytesIO):
    """A file whose header must end: reads are counted until `is_open`. Raises DataError beyond the limit."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.reads = 0
        self.is_open = False

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file."""
        self.reads += 1
        if self.reads > MOST_HEADER_READS and not self.is_open:
            raise DataError(
                f"has a header of more than {MOST_HEADER_READS:,} pieces before its pixels; save it again "
                "without its comments and metadata"
            )
        return super().read(size)


def check_size(height: int, width: int, max_pixels: int) -> None:
    """Raise DataError for an image of more than `max_pixels`."""
    if height * width > max_pixels:
        raise DataError(
            f"has {width} x {height} = {width * height:,} pixels, "
            f"more than data.max_image_pixels={max_pixels:,}"
        )


def _decode_by_pillow(data: bytes, max_pixels: int) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # oddities of a file that is read all the same
        if data[:2] in PLAIN_KINDS:  # Pillow copies the rest of the file at every comment
            data = PLAIN_COMMENT.sub(b"", data)
        file = HeaderReader(data)
        try:
            with Image.open(file, formats=FORMATS) as image:
                file.is_open = True
                check_size(image.height, image.width, max_pixels)
                return convert_image(image)
        except DataError:
            raise
        except UnidentifiedImageError:
            raise DataError(name_refused(data)) from None
        except Exception as error:  # decoders raise nearly anything when fed a damaged file
            reason = " ".join(str(error).split()) or type(error).__name__
            raise DataError(f"is truncated or damaged ({reason})") from None


def name_refused(data: bytes) -> str:
    """What a file is that is not read, by its first bytes."""
    for name, start in OTHER_FORMATS.items():
        if start.match(data[:MAGIC_BYTES]):
            return f"is {name} file, which this Pillow cannot read: save it as JPEG or PNG"
    return f"is not an image (it starts with {data[:12]!r})"


def convert_image(image: Image.Image) -> Tensor:
    """(3, H, W) uint8 pixels of an opened image: transparency is dropped, 16 bits become 8."""
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image)
        if image.mode != "F" and values.size and values.max() > 255:
            values = values >> 8
        image = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    pixels = np.array(image.convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1)


def load_image(source: Path | str | Image.Image, *, max_pixels: int = MOST_PIXELS) -> Tensor:
    """(3, H, W) uint8 pixels of a file or an opened image; DataError names the file."""
    if isinstance(source, Image.Image):
        check_size(source.height, source.width, max_pixels)
        return convert_image(source)
    try:
        return decode(Path(source).read_bytes(), max_pixels=max_pixels)
    except OSError as error:
        raise DataError(f"{source} cannot be read ({error.strerror})") from None
    except DataError as error:
        raise DataError(f"{source} {error}") from None
