"""Makes the pictures of ../picture.rs, and expected.json: CRC-32 of what Pillow's convert("RGB") makes of each."""

import json
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

expected = {}
for path in sorted(HERE.iterdir()):
    if path.suffix not in {".py", ".json"}:
        expected[path.name] = zlib.crc32(Image.open(path).convert("RGB").tobytes())
(HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
