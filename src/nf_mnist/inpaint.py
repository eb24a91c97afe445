"""Complete images of which a part is hidden: ``python -m nf_mnist.inpaint ckpt=FILE mask=lower method=mode``."""

import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from nf_mnist.app.building import build_dequantizer, load_split
from nf_mnist.app.command import command
from nf_mnist.app.composing import instantiate
from nf_mnist.app.output import csv_of, new_path
from nf_mnist.app.trained import load_trained
from nf_mnist.checkpoints.writing import write_json, write_text
from nf_mnist.errors import ConfigError, ShapeError

if TYPE_CHECKING:
    from torch import Tensor

    from nf_mnist.flows import Flow
    from nf_mnist.inpainting import Completions

SHOWN = 8  # images and completions in the picture


@command("inpaint")
def main(cfg: DictConfig) -> None:
    """Write a picture (truth, corrupted, completions, mean, deviation) and the metrics as CSV and JSON into ``out``."""
    import torch
    from rich.console import Console
    from rich.progress import track

    from nf_mnist.app.settings import check_ranges, check_split
    from nf_mnist.hardware import (
        autocast_of,
        dtype_of,
        keep_freed_memory,
        resolve_device,
        resolve_precision,
    )
    from nf_mnist.inpainting import corrupt, make_observed, measure

    check_ranges(cfg)
    check_split(cfg.split)
    out = new_path(cfg.out)
    device = resolve_device(cfg.device)
    precision = resolve_precision(cfg.precision, device.type)
    dtype = dtype_of(precision)
    flow, _, trained, _ = load_trained(cfg.ckpt, cfg.trust)
    method = _method(cfg.method)
    truth, index = _images(cfg, flow, cfg.get("data") or trained.data)
    truth = truth.to(device, dtype)
    observed = make_observed(cfg.mask, flow.event_shape, cfg.seed).to(device)
    generator = torch.Generator().manual_seed(cfg.seed)
    corrupted = corrupt(truth, observed, cfg.corruption, generator)
    keep_freed_memory()
    with autocast_of(precision, device):
        measured = measure(
            method,
            flow.to(device, dtype).requires_grad_(False),
            truth,
            observed,
            n_samples=cfg.n_samples,
            batch_size=cfg.batch_size,
            generator=generator,
            progress=lambda batches: track(batches, "inpainting", console=Console(stderr=True)),
        )
    errors = (corrupted - truth).square().flatten(1).sum(1).cpu()
    metrics = {"squared_error_corrupted": errors, **measured.per_image}
    about = {
        "checkpoint": str(cfg.ckpt),
        "images": cfg.split if cfg.image is None else str(cfg.image),
        "mask": cfg.mask,
        "method": cfg.method._target_.rpartition(".")[2],
        "n_images": len(truth),
        "n_samples": cfg.n_samples,
        "precision": precision,
        "seed": cfg.seed,
        "seconds_per_image": measured.seconds / len(truth),
        "gradients_per_image": measured.first.n_gradients,
        **measured.report,
        **{name: values.double().mean().item() for name, values in metrics.items()},
    }
    out.mkdir()
    _write_picture(out / "inpainting.png", truth, corrupted, measured.first)
    write_text(out / "images.csv", csv_of({**index, **metrics}))
    write_json(out / "metrics.json", about)
    _print(about, out)


def _method(node: DictConfig) -> "Callable[..., Completions]":
    """Return a method with its settings.

    Raises:
        ConfigError: If it lacks one, or is given one that it does not have.
    """
    method = instantiate(node)
    try:
        inspect.signature(method.func).bind(None, None, None, n_samples=1, generator=None, **method.keywords)
    except TypeError as error:
        raise ConfigError(f"cannot build {node._target_}: {error}") from error
    return method


def _images(cfg: DictConfig, flow: "Flow", data: DictConfig) -> "tuple[Tensor, dict[str, Tensor]]":
    """Return the images to complete, in [0, 1]: a user's picture, or a seeded random sample of a split.

    Returns:
        The images, and the ``index`` of each in the split; a picture of one's own has none.

    Raises:
        ShapeError: If they have another shape than the flow's data.
    """
    import torch

    from nf_mnist.data import evaluation_noise, random_subset, read_picture

    dequantizer = build_dequantizer(data, OmegaConf.create())
    if cfg.image is not None:
        levels, index = read_picture(str(cfg.image))[None], torch.zeros(1, dtype=torch.int64)
    else:
        chosen, _ = load_split(data, cfg.split)
        (levels, _), index = random_subset(chosen, cfg.n_images, cfg.seed)
    if levels.shape[1:] != flow.event_shape:
        what = "an image" if cfg.image is None else cfg.image
        raise ShapeError(f"{what} is {tuple(levels.shape[1:])}, but this flow completes {flow.event_shape}")
    x, _ = dequantizer(levels, evaluation_noise(index, flow.event_shape, 0, cfg.seed))
    return x, {"index": index} if cfg.image is None else {}


def _write_picture(path: Path, truth: "Tensor", corrupted: "Tensor", found: "Completions") -> None:
    """Write a row for each image: truth, corrupted, completions, and of several their mean and standard deviation."""
    import torch
    from torchvision.utils import save_image

    from nf_mnist.data import to_levels
    from nf_mnist.plots import image_grid

    n = found.x.shape[1]
    parts = [truth[None, :n], corrupted[None, :n], found.x[:SHOWN]]
    if len(found.x) > 1:
        parts += [found.x.mean(0, keepdim=True), 2 * found.x.std(0, keepdim=True)]  # a deviation is 1/2 at most
    columns = torch.cat(parts)[:, :SHOWN]
    images = to_levels(columns.transpose(0, 1).flatten(0, 1)) / 255
    save_image(image_grid(images, len(columns)), path)


def _print(metrics: dict[str, Any], out: Path) -> None:
    error, corrupted = metrics["squared_error"], metrics["squared_error_corrupted"]
    print(f"{metrics['n_images']} images, mask {metrics['mask']}, {metrics['method']}: {out}")
    print(f"squared error per image {error:.2f}, corrupted {corrupted:.2f}, ratio {error / corrupted:.2f}")
    if "squared_error_of_mean" in metrics:
        covered = f", coverage of the 90% interval {metrics['coverage_90']:.2f}" if "coverage_90" in metrics else ""
        print(f"of the mean of {metrics['n_samples']} completions {metrics['squared_error_of_mean']:.2f}{covered}")
    print(f"log p in logit space {metrics['log_prob']:.1f} nats, of the true images {metrics['log_prob_of_truth']:.1f}")
    print(f"{metrics['seconds_per_image']:.2f} s and {metrics['gradients_per_image']} gradients per image")
    walks = "acceptance" in metrics
    if walks:
        print(f"acceptance {metrics['acceptance']:.2f}, {_convergence(metrics.get('r_hat'))}")
    if metrics.get("stopped"):
        what = "chains" if walks else "climbs"
        print(f"warning: {metrics['stopped']:.0f} {what} met a value that is not finite and were stopped")


def _convergence(r_hat: float | None) -> str:
    """Say whether chains have met, by the largest split R-hat; None: there are too few draws to tell."""
    from nf_mnist.metrics.r_hat import CONVERGED, MIN_DRAWS

    if r_hat is None:
        return f"too few draws for split R-hat, which takes {MIN_DRAWS} of each chain: a larger n_samples="
    if math.isinf(r_hat):
        return "no split R-hat: a chain does not move, so the chains have not met"
    if r_hat > CONVERGED:
        return f"largest split R-hat {r_hat:.2f}, above {CONVERGED}: the chains have not met; try a larger method.thinning="
    return f"largest split R-hat {r_hat:.2f}: the chains have met"


if __name__ == "__main__":
    main()
