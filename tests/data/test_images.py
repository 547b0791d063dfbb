"""Good, odd and broken image files."""

import io
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image, PngImagePlugin

from tpr.data.images import reader
from tpr.data.images.reader import (
    AVIF,
    FORMATS,
    MOST_HEADER_READS,
    decode,
    load_image,
    measure_image,
    read_bytes,
    read_jpeg_header,
)
from tpr.data.tables.corpus import Corpus
from tpr.errors import DataError


def draw(height: int = 40, width: int = 24, seed: int = 0) -> Image.Image:
    noise = np.random.RandomState(seed).randint(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BILINEAR)


def encode(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def by_pillow(data: bytes) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(io.BytesIO(data)).convert("RGB"))).permute(2, 0, 1)


@pytest.mark.parametrize(
    "options",
    [{}, {"subsampling": 0}, {"progressive": True}, {"optimize": True}, {"restart_marker_blocks": 2}],
)
def test_jpegs_decode_to_pillows_pixels(options: dict) -> None:
    data = encode(draw(), **options)
    pixels = decode(data)
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (3, 40, 24)
    assert (pixels.int() - by_pillow(data).int()).abs().max() <= 1


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_jpegs_become_rgb(mode: str) -> None:
    data = encode(draw().convert(mode))
    assert torch.equal(decode(data), by_pillow(data))


@pytest.mark.parametrize("mode", ["RGB", "P", "LA", "1"])
def test_pngs_are_read_by_pillow(mode: str) -> None:
    data = encode(draw().convert(mode), "PNG")
    assert torch.equal(decode(data), by_pillow(data))


def test_transparency_is_dropped() -> None:
    image = draw().convert("RGBA")
    image.putalpha(30)
    assert torch.equal(decode(encode(image, "PNG")), by_pillow(encode(draw(), "PNG")))
    palette = draw().convert("P")
    data = encode(palette, "PNG", transparency=bytes(range(256)))
    assert torch.equal(decode(data), by_pillow(encode(palette, "PNG")))


def test_sixteen_bits_become_their_high_byte() -> None:
    values = np.arange(0, 65536, 4096, dtype=np.uint16).reshape(4, 4)
    pixels = decode(encode(Image.fromarray(values), "PNG"))
    assert pixels.shape == (3, 4, 4)
    assert pixels[0].flatten().tolist() == list(range(0, 256, 16))
    assert torch.equal(pixels[0], pixels[2])


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (6, 5), colour) for colour in ("red", "blue")]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(data)[:, 0, 0].tolist() == [255, 0, 0]


def test_orientation_of_exif_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(encode(draw(), exif=exif)).shape == (3, 40, 24)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_one_pixel_is_an_image(kind: str) -> None:
    assert decode(encode(Image.new("RGB", (1, 1), "white"), kind)).tolist() == [[[255]], [[255]], [[255]]]


def test_the_header_is_found_behind_other_segments() -> None:
    exif = Image.Exif()
    exif[0x010E] = "x" * 5000
    assert read_jpeg_header(encode(draw(), exif=exif, comment=b"\xff\xc0" * 20)) == (40, 24, 3, 8)
    assert read_jpeg_header(encode(draw(), "PNG")) is None
    assert read_jpeg_header(b"\xff\xd8\xff") is None


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_jpeg_is_refused(share: float) -> None:
    data = encode(draw(200, 100))
    with pytest.raises(DataError, match="is truncated or damaged") as caught:
        decode(data[: int(len(data) * share)])
    assert "\n" not in str(caught.value)


def test_an_empty_file_and_a_text_file_are_refused() -> None:
    with pytest.raises(DataError, match=r"^is empty \(0 bytes\)$"):
        decode(b"")
    with pytest.raises(DataError, match=r"^is not an image \(it starts with b'404: Not Fou'\)$"):
        decode(b"404: Not Found, sorry")


def bomb(width: int, height: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_a_bomb_is_refused_by_its_header() -> None:
    message = r"^has 10000 x 6000 = 60,000,000 pixels, more than data.max_image_pixels=50,000,000$"
    with pytest.raises(DataError, match=message):
        decode(bomb(10_000, 6_000))
    jpeg = bytearray(encode(draw()))
    place = jpeg.index(b"\xff\xc0")
    jpeg[place + 5 : place + 9] = struct.pack(">HH", 6_000, 10_000)
    with pytest.raises(DataError, match=message):
        decode(bytes(jpeg))
    with pytest.raises(DataError, match="decompression bomb"):
        decode(bomb(60_000, 60_000), max_pixels=10**12)
    with pytest.raises(DataError, match="has 24 x 40 = 960 pixels, more than data.max_image_pixels=959"):
        decode(encode(draw()), max_pixels=959)


def test_random_damage_never_raises_anything_else() -> None:
    rng = np.random.RandomState(3)
    for data in (encode(draw()), encode(draw(), "PNG"), encode(draw().convert("P"), "GIF")):
        for _ in range(60):
            broken = bytearray(data)
            for place in rng.randint(0, len(data), 12):
                broken[place] = rng.randint(0, 256)
            try:
                pixels = decode(bytes(broken), max_pixels=10**6)
            except DataError as error:
                assert "\n" not in str(error)
            else:
                assert pixels.shape[0] == 3


def count_calls(work: Callable[[], object]) -> int:
    """Calls of functions, also of those in C."""
    count = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


TINY = encode(Image.new("RGB", (4, 4), "red"))
TINY_CMYK = encode(Image.new("CMYK", (4, 4)))
TINY_PNG = encode(Image.new("RGB", (4, 4), "red"), "PNG")
TINY_GIF = encode(Image.new("RGB", (4, 4), "red"), "GIF")
MANY = 100_000


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"P6\n#" + b"a" * MANY + b"\n1 1 255\nabc", id="a long comment in a PPM"),
        pytest.param(b"P6\n" + b" " * MANY + b"1 1 255\nabc", id="blanks in a PPM"),
        pytest.param(TINY[:2] + b"\xff\xfe\0\2" * MANY + TINY[2:], id="comments in a JPEG"),
        pytest.param(TINY[:2] + b"\xff" * MANY + TINY[2:], id="fill bytes in a JPEG"),
        pytest.param(
            TINY_CMYK[:2] + b"\xff\xe1\0\x0aExif\0\0ab" * MANY + TINY_CMYK[2:], id="EXIF in a CMYK JPEG"
        ),
        pytest.param(
            TINY_PNG[:33] + struct.pack(">I4sI", 0, b"abCd", zlib.crc32(b"abCd")) * MANY + TINY_PNG[33:],
            id="chunks in a PNG",
        ),
        pytest.param(TINY_GIF.replace(b"\x2c", b"\x21\xfe\1a\0" * MANY + b"\x2c", 1), id="comments in a GIF"),
    ],
)
def test_a_header_without_end_is_refused_before_it_costs_time(data: bytes) -> None:
    def refuse() -> None:
        with pytest.raises(DataError, match="before its pixels; save it again without its comments"):
            decode(data)

    assert count_calls(refuse) < 15 * MOST_HEADER_READS


def test_comments_among_the_numbers_of_a_plain_ppm_are_passed_over_at_once() -> None:
    comments = b"#a\n" * MANY
    data = b"P3 # an image\n2 1 255\n1 2 3\n" + comments + b"4 5 6#end"
    found: list[torch.Tensor] = []
    assert count_calls(lambda: found.append(decode(data))) < MANY
    assert found[0].flatten().tolist() == [1, 4, 2, 5, 3, 6]


def test_large_metadata_is_no_header_without_end() -> None:
    note = (
        b"\xff\xe1" + struct.pack(">H", 60_002) + b"http://ns.adobe.com/xmp/extension/\0".ljust(60_000, b"x")
    )
    assert torch.equal(decode(TINY[:2] + note * 200 + TINY[2:]), decode(TINY))
    info = PngImagePlugin.PngInfo()
    info.add_text("note", "x" * 900_000)
    data = encode(Image.new("RGB", (4, 4), "red"), "PNG", pnginfo=info)
    assert torch.equal(decode(data), decode(TINY_PNG))


@pytest.mark.skipif(not AVIF, reason="this Pillow reads no AVIF")
def test_avif_is_read_whatever_its_name_says(tmp_path: Path) -> None:
    data = encode(draw(), "AVIF", quality=100, subsampling="4:4:4")
    (tmp_path / "a.jpg").write_bytes(data)
    assert torch.equal(load_image(tmp_path / "a.jpg"), by_pillow(data))
    with pytest.raises(DataError, match="has 24 x 40 = 960 pixels, more than"):
        decode(data, max_pixels=959)


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miaf", "an AVIF"),
        (b"\0\0\0\x20ftypmif1\0\0\0\0miafavifmif1", "an AVIF"),
        (b"\0\0\0\x20ftypheic\0\0\0\0mif1heic", "an HEIC"),
        (b"\0\0\0\x20ftypmif1\0\0\0\0mif1heic", "an HEIC"),
        (b"\xff\x0a\xfa\x1f", "a JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000"),
    ],
)
def test_formats_that_are_not_read_are_named(
    start: bytes, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "FORMATS", tuple(kind for kind in FORMATS if kind != "AVIF"))
    (tmp_path / "a.jpg").write_bytes(start + bytes(40))
    problem = rf"a\.jpg is {name} file, which this Pillow cannot read: save it as JPEG or PNG$"
    with pytest.raises(DataError, match=problem):
        load_image(tmp_path / "a.jpg")


def make_corpus(root: Path, columns: dict) -> Corpus:
    return Corpus(
        name="some_set",
        split="train",
        root=root,
        table=pa.table(columns),
        identity=np.zeros(1, np.int64),
        caption_offsets=np.zeros(2, np.int64),
        has_identities=True,
        fingerprint="x",
    )


def test_bytes_come_from_the_file_or_the_packed_column(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"loose")
    assert read_bytes(make_corpus(tmp_path, {"image": ["a.jpg"]}), 0) == b"loose"
    assert read_bytes(make_corpus(tmp_path, {"image": ["a.jpg"], "picture": [b"packed"]}), 0) == b"packed"
    with pytest.raises(DataError, match=r"cannot be read \(No such file or directory\)"):
        read_bytes(make_corpus(tmp_path, {"image": ["b.jpg"]}), 0)


def test_a_path_and_an_opened_image_load_alike(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    draw().save(path)
    assert torch.equal(load_image(path), load_image(draw()))
    assert torch.equal(load_image(str(path)), load_image(path))
    (tmp_path / "b.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"b.png is empty \(0 bytes\)"):
        load_image(tmp_path / "b.png")
    with pytest.raises(DataError, match=r"c.png cannot be read \(No such file or directory\)"):
        load_image(tmp_path / "c.png")


def test_an_image_of_an_array_is_read_as_its_own_pixels(tmp_path: Path) -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (3, 7, 5, 3), dtype=np.uint8)
    np.save(tmp_path / "people.npy", pixels)
    corpus = make_corpus(tmp_path, {"image": ["people.npy#2", "people.npy#3"]})
    content = read_bytes(corpus, 0)
    assert np.array_equal(decode(content).permute(1, 2, 0).numpy(), pixels[2])
    assert measure_image(tmp_path, "people.npy#2") == len(content)
    for problem in (lambda: read_bytes(corpus, 1), lambda: measure_image(tmp_path, "people.npy#3")):
        with pytest.raises(DataError, match=r"^cannot be read \(the array holds 3 images\)$"):
            problem()


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (
            np.zeros((2, 4, 4), dtype=np.uint8),
            r"holds uint8 of shape \[2, 4, 4\], expected uint8 of N x height",
        ),
        (np.zeros((2, 4, 4, 3)), r"holds float64 of shape \[2, 4, 4, 3\], expected uint8"),
        (np.array([None, 1], dtype=object), "Python objects"),
    ],
)
def test_an_array_of_anything_else_is_refused(tmp_path: Path, array: np.ndarray, problem: str) -> None:
    np.save(tmp_path / "people.npy", array, allow_pickle=True)
    with pytest.raises(DataError, match=rf"^cannot be read \(.*/people.npy .*{problem}"):
        read_bytes(make_corpus(tmp_path, {"image": ["people.npy#0"]}), 0)
    (tmp_path / "people.npy").unlink()
    with pytest.raises(DataError, match=r"^cannot be read \(.*/people.npy cannot be read: No such file"):
        read_bytes(make_corpus(tmp_path, {"image": ["people.npy#0"]}), 0)
