"""The table of inpainting: ``python -m benchmarks.inpainting.table CKPT ... [--images N] [--masks ...]``.

Completes official test images (a seeded random sample) by every method that a flow allows (``--methods`` selects some)
and under every mask, and writes a row for each into ``results/inpainting.json``. The first completions go to
``outputs/inpainting_table/``, where ``python -m tools.completions`` finds them. Rows that are there are skipped. A row
is computed in parts of fifty images, and ``outputs/inpainting_table/parts.json`` keeps these, so that an interrupted
run resumes. If the weights behind a name have changed, delete both. Slow methods complete at most ``--slow_images``
images. ``--out FILE`` writes the rows elsewhere.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from omegaconf import OmegaConf
from rich.console import Console
from rich.progress import track
from torch import Tensor

from benchmarks.measuring import Metrics, add_row, rows_of
from nf_mnist.app.composing import config_dir, instantiate
from nf_mnist.app.trained import load_classifier, load_trained
from nf_mnist.data import DEQUANTIZERS, evaluation_noise, random_subset, to_levels
from nf_mnist.flows import Flow
from nf_mnist.hardware import autocast_of, describe, keep_freed_memory, resolve_precision
from nf_mnist.inpainting import HIDDEN, Completions, corrupt, make_observed, measure
from nf_mnist.inpainting.scoring import COMBINE_REPORTS

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "results" / "inpainting.json"
COMPLETIONS = ROOT / "outputs" / "inpainting_table"
PARTS = COMPLETIONS / "parts.json"
SEED = 0
PART = 50  # images in a part of a row

# For each method of conf/method: completions of each image, and whether it is too slow for many images.
Method = tuple[int, bool]
DRAWING: dict[str, Method] = {"amortized": (64, False)}
WALKING: dict[str, Method] = {"crank_nicolson": (64, True)}
CLIMBING: dict[str, Method] = {
    "mode": (1, False),
    "logit_adam": (1, True),
    "logit_ascent": (1, True),
    "pixel_ascent": (1, True),
    "posterior": (64, True),
}


def methods_of(flow: Flow) -> dict[str, Method]:
    """Return the methods that a flow allows."""
    if flow.takes_observed_pixels:
        return DRAWING
    return CLIMBING if flow.bijector.is_continuous else WALKING


def shipped_method(name: str) -> Callable[..., Completions]:
    """Return a method with the settings of its file in ``conf/method``."""
    return instantiate(OmegaConf.load(Path(config_dir()) / "method" / f"{name}.yaml"))


def part_of_row(
    flow: Flow, truth: Tensor, labels: Tensor, mean: Tensor, mask: str, method: str, n_samples: int, start: int
) -> tuple[Metrics, Tensor]:
    """Complete some of the images by one method under one mask.

    Args:
        flow: The density.
        truth: Images in [0, 1], shape (n_images, 1, height, width).
        labels: Labels of the images.
        mean: The mean training image, shape (1, height, width).
        mask: A name of :data:`~nf_mnist.inpainting.HIDDEN`.
        method: Name of a file of ``conf/method``.
        n_samples: Completions of each image.
        start: Number of the first image of the part; also seeds the draws of the method and the corruption.

    Returns:
        Metrics, means over images, and the levels of a completion of each, shape (at most PART, 1, height, width).
    """
    truth, labels = truth[start : start + PART], labels[start : start + PART]
    complete = shipped_method(method)
    observed = make_observed(mask, flow.event_shape, SEED)
    generator = torch.Generator().manual_seed(SEED + start)
    measured = measure(complete, flow, truth, observed, n_samples=n_samples, batch_size=len(truth), generator=generator)
    noise = corrupt(truth, observed, "gaussian_noise", generator)
    completed = to_levels(measured.first.x[0])
    seen = load_classifier().probabilities(completed).argmax(1)
    metrics = {
        "hardware": describe(),
        "n_images": len(truth),
        "n_samples": n_samples,
        "black": squared_error(torch.where(observed, truth, 0.0), truth),
        "corrupted": squared_error(noise, truth),
        "mean_image": squared_error(torch.where(observed, truth, mean), truth),
        **{name: values.double().mean().item() for name, values in measured.per_image.items()},
        "label_kept": (seen == labels).double().mean().item(),
        "gradients_per_image": measured.first.n_gradients,
        "seconds_per_image": measured.seconds / len(truth),
        **measured.report,
    }
    return metrics, completed


def row(key: str, of: str, n_images: int, part: Callable[[int], tuple[Metrics, Tensor]]) -> Metrics:
    """Return metrics of all images, computed part by part; parts that were computed before are read.

    Args:
        key: Name of the row.
        of: Weights and precision, in words; only parts computed with the same ones are read.
        n_images: How many there are.
        part: Computes a part, given the number of its first image; see :func:`part_of_row`.
    """
    COMPLETIONS.mkdir(parents=True, exist_ok=True)
    parts = []
    for start in track(range(0, n_images, PART), key, console=Console(stderr=True)):
        name = f"{key} of {of}: images {start} to {min(start + PART, n_images) - 1}"
        metrics = rows_of(PARTS).get(name)
        if metrics is None:
            metrics, completed = part(start)
            if start == 0:
                torch.save(completed, COMPLETIONS / f"{key}.pt")
            add_row(PARTS, name, metrics)
        parts.append(metrics)
    return row_of(parts)


def row_of(parts: Sequence[Metrics]) -> Metrics:
    """Combine the metrics of parts: means, the sum of climbs that stopped early, and the worst R-hat.

    Parts may come from several runs; the row names all hardware that they ran on.
    """
    sizes = [part["n_images"] for part in parts]

    def overall(name: str) -> float:
        values = [part[name] for part in parts]
        mean_of_images = sum(size * value for size, value in zip(sizes, values, strict=True)) / sum(sizes)
        return COMBINE_REPORTS[name](values) if name in COMBINE_REPORTS else mean_of_images

    means = {name: overall(name) for name, value in parts[0].items() if isinstance(value, float)}
    hardware = "; ".join(dict.fromkeys(part["hardware"] for part in parts))
    return {**parts[0], **means, "hardware": hardware, "n_images": sum(sizes)}


def squared_error(guess: Tensor, truth: Tensor) -> float:
    """Return the squared error of images, shape (n, 1, height, width): summed over pixels, averaged over images."""
    return (guess - truth).square().flatten(1).sum(1).mean().item()


def mean_image(levels: Tensor) -> Tensor:
    """Return the mean dithered image, shape (1, height, width), of levels of shape (n, 1, height, width)."""
    return ((levels.double().mean(0) + 0.5) / 256).float()


def main() -> None:
    """Compute the missing rows, one by one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ckpt", nargs="+")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--slow_images", type=int, default=50)
    parser.add_argument("--masks", nargs="+", default=list(HIDDEN))
    parser.add_argument("--methods", nargs="+", default=[*DRAWING, *WALKING, *CLIMBING])
    parser.add_argument("--precision", default="32-true", help="bf16-mixed: networks in bfloat16; auto: if it gains")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    precision = resolve_precision(options.precision, "cpu")
    keep_freed_memory()
    for ckpt in options.ckpt:
        flow, _, cfg, _ = load_trained(ckpt)
        flow.requires_grad_(False)
        dequantizer = DEQUANTIZERS[cfg.data.dequantizer]()
        train, test = instantiate(cfg.data.source)
        mean = mean_image(train.levels)
        for mask in options.masks:
            for name, (n_samples, is_slow) in methods_of(flow).items():
                key = f"{cfg.name} {mask} {name}"
                if name not in options.methods:
                    continue
                if key in (there := rows_of(options.out)):
                    print(f"{key}: there already, of {there[key]['checkpoint']}, {there[key]['n_images']} images")
                    continue
                n_images = min(options.images, options.slow_images) if is_slow else options.images
                sample, index = random_subset(test, n_images, SEED)
                truth, _ = dequantizer(sample.levels, evaluation_noise(index, flow.event_shape, 0, SEED))
                about = {"checkpoint": ckpt, "seed": SEED, "precision": precision}
                part = partial(part_of_row, flow, truth, sample.labels, mean, mask, name, n_samples)
                with autocast_of(precision, truth.device):
                    metrics = row(key, f"{ckpt}, {precision}", n_images, part)
                add_row(options.out, key, {**about, **metrics})
                shown = {key: round(value, 3) for key, value in metrics.items() if isinstance(value, float)}
                print(key, shown, flush=True)


if __name__ == "__main__":
    main()
