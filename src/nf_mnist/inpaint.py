"""Complete images of which a part is hidden: ``python -m nf_mnist.inpaint ckpt=FILE mask=lower method=mode``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from nf_mnist.cli import command, csv_of, new_path, write_json, write_text
from nf_mnist.config import instantiate, load_flow, load_split
from nf_mnist.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from nf_mnist.flows import Flow
    from nf_mnist.inpainting import Completions

SHOWN = 8  # images and completions in the picture


@command("inpaint")
def main(cfg: DictConfig) -> None:
    """Write a picture (truth, corrupted, completions, mean, deviation) and the figures as CSV and JSON into ``out``."""
    import torch
    from rich.console import Console
    from rich.progress import track

    from nf_mnist.checks import check_ranges, check_split
    from nf_mnist.inpainting import corrupt, make_observed, measure
    from nf_mnist.training.hardware import keep_freed_memory, resolve_device

    check_ranges(cfg)
    check_split(cfg.split)
    out = new_path(cfg.out)
    device = resolve_device(cfg.device)
    flow, trained = load_flow(cfg.ckpt, cfg.trust)
    truth = _images(cfg, flow, cfg.get("data") or trained.data).to(device)
    observed = make_observed(cfg.mask, flow.event_shape, cfg.seed).to(device)
    generator = torch.Generator().manual_seed(cfg.seed)
    corrupted = corrupt(truth, observed, cfg.corruption, generator)
    keep_freed_memory()
    measured = measure(
        instantiate(cfg.method),
        flow.to(device).requires_grad_(False),
        truth,
        observed,
        n_samples=cfg.n_samples,
        batch_size=cfg.batch_size,
        generator=generator,
        progress=lambda batches: track(batches, "inpainting", console=Console(stderr=True)),
    )
    errors = (corrupted - truth).square().flatten(1).sum(1).cpu()
    figures = {"squared_error_corrupted": errors, **measured.figures}
    about = {
        "checkpoint": str(cfg.ckpt),
        "mask": cfg.mask,
        "method": cfg.method._target_.rpartition(".")[2],
        "n_images": len(truth),
        "n_samples": cfg.n_samples,
        "seed": cfg.seed,
        "seconds_per_image": measured.seconds / len(truth),
        "gradients_per_image": measured.first.n_gradients,
        **measured.report,
        **{name: values.double().mean().item() for name, values in figures.items()},
    }
    out.mkdir()
    _write_picture(out / "inpainting.png", truth, corrupted, measured.first)
    write_text(out / "images.csv", csv_of(figures))
    write_json(out / "figures.json", about)
    _print(about, out)


def _images(cfg: DictConfig, flow: "Flow", data: DictConfig) -> "Tensor":
    """Return the images to complete, in [0, 1]: a user's picture, or a seeded random sample of a split."""
    import torch

    from nf_mnist.data import DEQUANTIZERS, evaluation_noise, random_subset, read_picture

    dequantizer = DEQUANTIZERS[data.dequantizer]()
    if cfg.image is not None:
        levels = read_picture(cfg.image)
        if levels.shape != flow.event_shape:
            raise DataError(f"{cfg.image} is {tuple(levels.shape)}, but this flow completes {flow.event_shape}")
        return dequantizer(
            levels[None], evaluation_noise(torch.zeros(1, dtype=torch.int64), flow.event_shape, 0, cfg.seed)
        )[0]
    chosen, _ = load_split(data, cfg.split)
    sample, index = random_subset(chosen, cfg.n_images, cfg.seed)
    return dequantizer(sample.levels, evaluation_noise(index, flow.event_shape, 0, cfg.seed))[0]


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


def _print(figures: dict[str, Any], out: Path) -> None:
    error, corrupted = figures["squared_error"], figures["squared_error_corrupted"]
    print(f"{figures['n_images']} images, mask {figures['mask']}, {figures['method']}: {out}")
    print(f"squared error per image {error:.2f}, corrupted {corrupted:.2f}, ratio {error / corrupted:.2f}")
    if "squared_error_of_mean" in figures:
        print(
            f"of the mean of {figures['n_samples']} completions {figures['squared_error_of_mean']:.2f}, "
            f"coverage of the 90% interval {figures['coverage']:.2f}"
        )
    print(f"log p in logit space {figures['log_prob']:.1f} nats, of the true images {figures['log_prob_of_truth']:.1f}")
    print(f"{figures['seconds_per_image']:.2f} s and {figures['gradients_per_image']} gradients per image")
    if figures.get("stopped"):
        print(f"warning: {figures['stopped']:.0f} completions met a value that is not finite and were stopped")


if __name__ == "__main__":
    main()
