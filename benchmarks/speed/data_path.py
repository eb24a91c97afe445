"""Images per second into the model, by our loader and by torchvision's: ``python -m benchmarks.speed.data_path``.

Passes once over the training images by each path, in turn, ``--repeats`` times. Torchvision's dataset, transforms and
DataLoader run with no workers and with one per core; the transforms are those of normflows' examples: to a tensor, to
255/256, plus uniform noise. Both paths end in dequantized float images on the device.
"""

import argparse
import gzip
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import MNIST

from benchmarks.measuring import default_device, machine, spread
from nf_mnist.checkpoints.writing import write_json
from nf_mnist.data import Images, UniformDequantizer, draw_noise, mnist
from nf_mnist.data.sets import ASSETS
from nf_mnist.hardware import synchronize
from nf_mnist.training.loader import TrainingLoader

RESULT = Path(__file__).parents[2] / "results" / "data_path.json"
OURS = "nf_mnist"


def dequantize(image: Tensor) -> Tensor:
    """Add uniform noise to an image in [0, 1]; the result stays in [0, 1]."""
    return image * (255 / 256) + torch.rand_like(image) / 256


def torchvision_loader(root: Path, batch_size: int, n_workers: int, device: torch.device) -> DataLoader:
    """Return torchvision's batches of the training images, read from files in ``root``."""
    dataset = MNIST(root, transform=transforms.Compose([transforms.ToTensor(), transforms.Lambda(dequantize)]))
    return DataLoader(
        dataset,
        batch_size,
        shuffle=True,
        num_workers=n_workers,
        drop_last=True,
        pin_memory=device.type == "cuda",
        persistent_workers=n_workers > 0,
    )


def unpack_mnist(root: Path) -> None:
    """Write the bundled MNIST files where torchvision looks for them."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for path in ASSETS.glob("*.gz"):
        (raw / path.stem).write_bytes(gzip.decompress(path.read_bytes()))


def images_per_second(
    batches: Iterable[tuple[Tensor, Tensor]], to_model: Callable[[Tensor], Tensor], device: torch.device
) -> float:
    """Return images per second over an epoch, timed from the first batch on, when workers have started."""
    n_images, begin = 0, 0.0
    for images, _ in batches:
        x = to_model(images.to(device, non_blocking=True))
        if not begin:
            synchronize(device)
            begin = time.perf_counter()
        else:
            n_images += len(x)
    synchronize(device)
    return n_images / (time.perf_counter() - begin)


def compare(images: Images, root: Path, repeats: int, batch_size: int) -> dict[str, list[float]]:
    """Measure the paths in turn; return their speeds."""
    device = default_device()
    dequantizer = UniformDequantizer()
    ours = TrainingLoader(images, batch_size, seed=0)
    workers = (0, len(os.sched_getaffinity(0)))
    theirs = {f"torchvision, {n} workers": torchvision_loader(root, batch_size, n, device) for n in workers}
    speeds: dict[str, list[float]] = {name: [] for name in (OURS, *theirs)}
    for _ in range(repeats):
        speeds[OURS].append(images_per_second(ours, lambda levels: dequantizer(levels, draw_noise(levels))[0], device))
        for name, loader in theirs.items():
            speeds[name].append(images_per_second(loader, lambda x: x, device))
    return speeds


def main() -> None:
    """Compare the paths and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        unpack_mnist(Path(folder))
        speeds = compare(mnist()[0], Path(folder), options.repeats, options.batch_size)
    rows = {name: spread(values) for name, values in speeds.items()}
    fastest = max((name for name in rows if name != OURS), key=lambda name: rows[name]["median"])
    ratios = [ours / theirs for ours, theirs in zip(speeds[OURS], speeds[fastest], strict=True)]
    print(f"{OURS} / {fastest}: median {spread(ratios)['median']:.1f}")
    write_json(
        options.out,
        {**machine(), "batch_size": options.batch_size, "images_per_second": rows, "ratio": spread(ratios)},
    )


if __name__ == "__main__":
    main()
