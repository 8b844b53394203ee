"""Makes the pictures of ../picture.rs; expected.json, the CRC-32 of what Pillow's convert("RGB") makes of each; and
damaged.json, the same for damaged copies of the JPEGs, or null where Pillow refuses one."""

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
y, x = np.mgrid[0:61, 0:83]
noise = np.random.default_rng(1).normal(0, 12, (61, 83, 3))
rgb = np.stack([x * 3, y * 4, 255 - x - y], -1) + noise + 60 * ((x // 9 + y // 7) % 2)[..., None]
rgb = Image.fromarray(rgb.clip(0, 255).astype(np.uint8))
alpha = rgb.copy()
alpha.putalpha(Image.fromarray((x * 3 % 256).astype(np.uint8)))

rgb.save(HERE / "420.jpg", quality=85, subsampling="4:2:0")
rgb.save(HERE / "422.jpg", quality=85, subsampling="4:2:2")
rgb.save(HERE / "444.jpg", quality=85, subsampling="4:4:4")
rgb.save(HERE / "optimised.jpeg", quality=95, optimize=True)
rgb.save(HERE / "restarts.jpg", quality=85, restart_marker_blocks=3)
rgb.save(HERE / "progressive.jpg", quality=85, progressive=True)
rgb.save(HERE / "keeps_rgb.jpg", quality=85, keep_rgb=True)
rgb.convert("L").save(HERE / "grey.jpg", quality=85)
rgb.convert("L").save(HERE / "grey_progressive.jpg", quality=85, progressive=True)
black = Image.fromarray((x + y).astype(np.uint8))
Image.merge("CMYK", [*rgb.split(), black]).save(HERE / "cmyk.jpg", quality=85)
rgb.save(HERE / "png_named.jpg", "PNG")
alpha.save(HERE / "alpha.png")
alpha.convert("LA").save(HERE / "grey_alpha.png")
rgb.quantize(32).save(HERE / "palette.png")
rgb.save(HERE / "pixmap.ppm")
rgb.convert("L").save(HERE / "greymap.PGM", "PPM")
rgb.save(HERE / "bitmap.bmp")
rgb.save(HERE / "lossless.webp", lossless=True)


def png16(name, colour, values):
    """A PNG of 16 bits a sample, which Pillow can't write in colour."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values.reshape(61, -1))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 83, 61, 16, colour, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    parts = [struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks]
    (HERE / name).write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


sixteen = np.random.default_rng(2).integers(0, 65536, (61, 83, 4))
png16("rgb16.png", 2, sixteen[..., :3])
png16("rgba16.png", 6, sixteen)
png16("grey_alpha16.png", 4, sixteen[..., :2])

rgb.save(HERE / "plain.tif")
rgb.save(HERE / "tiff_named.jpg", "TIFF", compression="tiff_lzw")
rgb.save(HERE / "deflated.tiff", compression="tiff_adobe_deflate")
rgb.save(HERE / "packbits.TIF", compression="packbits")
rgb.convert("L").save(HERE / "grey.tif", compression="tiff_lzw")
rgb.convert("CMYK").save(HERE / "cmyk.tif", compression="tiff_lzw")
alpha.save(HERE / "alpha.tif", compression="tiff_lzw")
values = sixteen[..., :3].astype("<u2").tobytes()  # what Pillow can't write: 16 bits a colour, uncompressed
tags = [(256, 3, 1, 83), (257, 3, 1, 61), (258, 3, 3, 134), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 140),
        (277, 3, 1, 3), (278, 3, 1, 61), (279, 4, 1, len(values))]
entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
head = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + struct.pack("<I", 0)
(HERE / "sixteen.tif").write_bytes(head.ljust(134, b"\0") + struct.pack("<HHH", 16, 16, 16) + values)

palette = rgb.quantize(64)
palette.save(HERE / "gif_named.jpg", "GIF", interlace=1)
frames = [rgb.quantize(16), rgb.rotate(180).quantize(16)]
frames[0].save(HERE / "animated.gif", save_all=True, append_images=frames[1:])
rgb.convert("L").save(HERE / "grey.gif")


def part_gif(name, transparent):
    """A GIF whose first frame leaves some of the canvas free, and has colours that the palette lacks."""
    small = rgb.crop((20, 10, 60, 40)).quantize(64)
    blob = io.BytesIO()
    small.save(blob, "GIF", interlace=0, optimize=False)
    whole = bytearray(blob.getvalue())
    whole[6:10] = struct.pack("<HH", 83, 61)
    at = whole.index(b"\x2c\0\0\0\0" + struct.pack("<HH", 40, 30))
    whole[at + 1 : at + 5] = struct.pack("<HH", 20, 10)
    control = b"\x21\xf9\x04\x01\0\0\x07\0" if transparent else b""
    whole[at:at] = control
    (HERE / name).write_bytes(bytes(whole))


part_gif("part.gif", False)
part_gif("part_transparent.gif", True)

expected = {}
for path in sorted(HERE.iterdir()):
    if path.suffix not in {".py", ".json"}:
        expected[path.name] = zlib.crc32(Image.open(path).convert("RGB").tobytes())
(HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")

END = b"\xff\xd9"


def damages(whole, seed):
    """Copies of a JPEG with (at, bytes taken away, hex put in their place) changed, as bugs and bad disks do."""
    data = whole.index(b"\xff\xda") + 14
    draw = np.random.default_rng(seed)
    yield len(whole) - 2, 0, "00112233"  # before the end
    yield 2, 0, "4242"  # between segments
    yield len(whole), 0, "ffd9" + "55" * 40  # after the end
    yield len(whole) - 2, 2, ""  # no end
    for share in (0.1, 0.4, 0.7, 0.95):
        at = data + int(share * (len(whole) - data))
        yield at, len(whole) - at, ""
        yield at, len(whole) - at, "ffd9"
        yield at, 8, ""
        yield at, 0, "ffd9"
    for _ in range(12):
        at = int(draw.integers(data, len(whole) - 2))
        yield at, 1, f"{whole[at] ^ (1 << int(draw.integers(8))):02x}"


damaged = []
for seed, name in enumerate(sorted(n for n in expected if (HERE / n).read_bytes()[:3] == b"\xff\xd8\xff")):
    whole = (HERE / name).read_bytes()
    for at, gone, put in damages(whole, seed):
        changed = whole[:at] + bytes.fromhex(put) + whole[at + gone :]
        try:
            crc = zlib.crc32(Image.open(io.BytesIO(changed)).convert("RGB").tobytes())
        except OSError:
            crc = None
        damaged.append([name, at, gone, put, crc])
rows = ",\n".join(" " + json.dumps(row) for row in damaged)
(HERE / "damaged.json").write_text(f"[\n{rows}\n]\n")
