"""Measures how fast photographs become training pixels, against the loaders of torchvision and timm.

    python bench/decode.py PHOTOS            a folder of image files, taken several times in a row
    python bench/decode.py PHOTOS --decoders one core: Pillow, simplejpeg, OpenCV and torchvision.io, and their pixels

Everybody uses two workers (--workers) and delivers uint8 batches of 64: short side 256, the middle 256 (ours) or
224 (the peers: a little less to copy) pixels, bilinear and antialiased. Ours are threads, theirs are processes
that stay alive between turns. Turns are interleaved, and the ratio is taken turn by turn.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

SIDE, CROP, BATCH = 256, 224, 64


def main() -> None:
    """Measures what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--images", type=int, default=1260)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--decoders", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = sorted(path for path in options.photos.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    files = (found * -(-options.images // len(found)))[: options.images]
    report = decoders(found) if options.decoders else loaders(files, options.workers, options.turns)
    print(json.dumps(report, indent=2))
    if options.out:
        options.out.write_text(json.dumps(report, indent=2) + "\n")


def loaders(files: list[Path], workers: int, turns: int) -> dict[str, Any]:
    """Returns images a second of each loader, median of interleaved turns, and ours in ratio to each peer."""
    contenders: dict[str, Callable[[], Iterator[Any]]] = {
        "vit": vit(files, workers),
        "torchvision": torchvision(files, workers),
        "timm": timm(files, workers),
    }
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(turns + 1):
        for name, batches in contenders.items():
            begin = time.perf_counter()
            count = sum(len(batch) for batch in batches())
            if turn:  # the first starts the workers
                speeds[name].append(count / (time.perf_counter() - begin))
            assert count == len(files), (name, count)
    ratios = {
        name: [ours / theirs for ours, theirs in zip(speeds["vit"], speeds[name], strict=True)]
        for name in contenders
        if name != "vit"
    }
    return {
        "images": len(files),
        "workers": workers,
        "images_per_second": {name: round(statistics.median(taken), 1) for name, taken in speeds.items()},
        "ratio": {name: round(statistics.median(taken), 3) for name, taken in ratios.items()},
        "ratio_spread": {
            name: [round(min(taken), 3), round(max(taken), 3)] for name, taken in ratios.items()
        },
    }


def vit(files: list[Path], workers: int) -> Callable[[], Iterator[Any]]:
    """Ours: a streamed store, decoded by threads."""
    from vitcli.core.reporter import Silent
    from vitcli.data.batches import evaluation_batches
    from vitcli.data.decode import Geometry
    from vitcli.data.scan import scan
    from vitcli.data.store import StreamStore

    geometry = Geometry(fit="crop", size=SIDE, channels=3)
    store = StreamStore(files, geometry, scan(files, geometry, Silent(), ""), 0, workers)
    return lambda: (images[:count] for images, count in evaluation_batches(store, BATCH))


def torchvision(files: list[Path], workers: int) -> Callable[[], Iterator[Any]]:
    """Torchvision's ImageFolder loader, transforms and the DataLoader."""
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets.folder import default_loader

    steps = transforms.Compose(
        [transforms.Resize(SIDE), transforms.CenterCrop(CROP), transforms.PILToTensor()]
    )
    data: Any = Files(files, default_loader, steps)
    loader: Any = DataLoader(data, BATCH, num_workers=workers, persistent_workers=True)
    return lambda: (images for images, _ in loader)


def timm(files: list[Path], workers: int) -> Callable[[], Iterator[Any]]:
    """Timm's transform for evaluation and its loader, without the copy to a GPU."""
    from timm.data import create_loader

    def open_rgb(path: Path) -> Any:
        from PIL import Image

        return Image.open(path).convert("RGB")

    loader = create_loader(
        Files(files, open_rgb, None),
        input_size=(3, CROP, CROP),
        batch_size=BATCH,
        is_training=False,
        use_prefetcher=True,  # batches stay uint8
        interpolation="bilinear",
        crop_pct=CROP / SIDE,
        num_workers=workers,
        persistent_workers=True,
        device=_cpu(),
    )
    # Behind its prefetcher, which would turn uint8 into normalised floats.
    return lambda: (images for images, _ in loader.loader)


class Files:
    """A list of files as a data set of the DataLoader; every label is 0."""

    def __init__(self, files: list[Path], load: Callable[[Any], Any], transform: Any) -> None:
        self.files, self.load, self.transform = files, load, transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        image = self.load(self.files[index])
        return (self.transform(image) if self.transform else image), 0


def _cpu() -> Any:
    import torch

    return torch.device("cpu")


def decoders(files: list[Path]) -> dict[str, Any]:
    """Returns images a second of one core for each JPEG decoder, and how far its pixels are from Pillow's."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import cv2
    import simplejpeg
    import torch
    from PIL import Image
    from torchvision.io import ImageReadMode, decode_jpeg

    from vitcli.data.decode import Geometry, decode

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    exact, fast = (Geometry(fit="crop", size=SIDE, channels=3, fast=choice) for choice in (False, True))

    def fitted(pixels: Any) -> Any:
        image = Image.fromarray(pixels)
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        box = (left, top, left + side, top + side)
        return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box))

    def by_cv2(path: Path) -> Any:
        pixels: Any = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)

    def by_torchvision(path: Path) -> Any:
        data = torch.from_numpy(np.fromfile(path, np.uint8))
        return decode_jpeg(data, ImageReadMode.RGB).permute(1, 2, 0).contiguous().numpy()

    ways: dict[str, Callable[[Path], Any]] = {
        "vit, exact (Pillow)": lambda path: decode(path, exact),
        "vit, fast": lambda path: decode(path, fast),
        "simplejpeg + Pillow's resize": lambda path: fitted(simplejpeg.decode_jpeg(path.read_bytes())),
        "OpenCV + Pillow's resize": lambda path: fitted(by_cv2(path)),
        "torchvision.io + Pillow's resize": lambda path: fitted(by_torchvision(path)),
    }
    report = {}
    for name, way in ways.items():
        taken = []
        for _ in range(5):
            begin = time.perf_counter()
            images = [way(path) for path in files]
            taken.append(len(files) / (time.perf_counter() - begin))
        far = [
            np.abs(ours.astype(int) - decode(path, exact)) for ours, path in zip(images, files, strict=True)
        ]
        report[name] = {
            "images_per_second": round(statistics.median(taken), 1),
            "mean_difference": round(float(np.mean([each.mean() for each in far])), 4),
            "largest_difference": int(max(each.max() for each in far)),
        }
    return report


if __name__ == "__main__":
    main()
