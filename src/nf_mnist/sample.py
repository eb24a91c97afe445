"""Draw images from a trained flow: ``python -m nf_mnist.sample ckpt=FILE out=grid.png``."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from nf_mnist.app.command import command
from nf_mnist.app.output import new_path
from nf_mnist.app.trained import load_trained
from nf_mnist.checkpoints.writing import write_json
from nf_mnist.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor


@command("sample")
def main(cfg: DictConfig) -> None:
    """Write samples as one grid (``out`` ends in .png) or as single images (``out`` is a folder); metrics beside it."""
    from rich.console import Console
    from rich.progress import track

    from nf_mnist.app.settings import check_ranges
    from nf_mnist.hardware import (
        autocast_of,
        dtype_of,
        keep_freed_memory,
        resolve_device,
        resolve_precision,
    )
    from nf_mnist.metrics import CONFIDENT, check_digits, draw_levels

    check_ranges(cfg)
    device = resolve_device(cfg.device)
    precision = resolve_precision(cfg.precision, device.type)
    out = new_path(cfg.out)
    metrics = new_path(out.with_suffix(".json") if _is_grid(out) else out.with_name(f"{out.name}.json"))
    flow = load_trained(cfg.ckpt, cfg.trust).flow
    flow = flow.to(device, dtype_of(precision))
    keep_freed_memory()
    if cfg.classify:
        check_digits(flow.event_shape)
    if cfg.label is not None and not 0 <= cfg.label < flow.n_classes:
        raise ConfigError(f"label={cfg.label}, but this flow has {flow.n_classes} labels, counted from 0")
    begin = time.monotonic()
    with autocast_of(precision, device):
        levels, n_nan = draw_levels(
            flow,
            cfg.n,
            cfg.temperature,
            batch_size=cfg.batch_size,
            seed=cfg.seed,
            label=cfg.label,
            progress=lambda sizes: track(sizes, "sampling", console=Console(stderr=True)),
        )
    seconds = time.monotonic() - begin
    _write_images(levels, out)
    about = {
        "checkpoint": str(cfg.ckpt),
        "n": cfg.n,
        "temperature": cfg.temperature,
        "label": cfg.label,
        "precision": precision,
        "seed": cfg.seed,
        "n_nan": n_nan,
    }
    judged = _judged(levels, cfg.seed) if cfg.classify else {}
    write_json(metrics, {**about, "seconds": seconds, **judged})
    print(f"{cfg.n} samples at temperature {cfg.temperature:g} in {seconds:.1f} s: {out}")
    for what, seen in judged.items():
        sure, counts = f"{seen['confident_share']:.1%}", seen["class_histogram"]
        print(f"{what.replace('_', ' ')}: the classifier is above {CONFIDENT} confident of {sure}, and sees {counts}")


def _is_grid(out: Path) -> bool:
    return out.suffix == ".png"


def _judged(levels: "Tensor", seed: int) -> dict[str, Any]:
    """Return what the released classifier sees of samples, and of as many training images of MNIST."""
    from nf_mnist.app.trained import load_classifier
    from nf_mnist.data import mnist, random_subset
    from nf_mnist.metrics import class_histogram, confident_share

    classifier, training = load_classifier(), random_subset(mnist().train, len(levels), seed)[0].levels
    found = {"samples": classifier.probabilities(levels), "training_images": classifier.probabilities(training)}
    return {
        what: {"confident_share": confident_share(seen), "class_histogram": class_histogram(seen)}
        for what, seen in found.items()
    }


def _write_images(levels: "Tensor", out: Path) -> None:
    """Write images as levels, shape (n, 1, height, width), as a grid, or one by one into a folder."""
    from torchvision.utils import save_image

    from nf_mnist.plots import image_grid

    if _is_grid(out):
        temporary = out.with_name(f".{out.name}")
        save_image(image_grid(levels / 255), temporary, format="png")
        temporary.replace(out)
        return
    out.mkdir()
    for i, image in enumerate(levels):
        save_image(image / 255, out / f"{i:06d}.png")


if __name__ == "__main__":
    main()
