"""Riddles about BatchNorm: a validation loss that explodes, and the effect of the batch size."""

import tempfile
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from nf_mnist.bijectors import ActNorm, BatchNorm, Permutation, Sequential
from nf_mnist.data import mnist
from nf_mnist.diagnostics import DiagnosisTask, reached_layers
from nf_mnist.metrics import bits_per_dim
from riddles.runs import Outcome, Riddle, Run, train

NORMS = (BatchNorm, ActNorm)
N_SCORED = 1000
DEPTHS = (1, 2, 3, 4, 6)
CROPS = (14, 20, 24)  # sides of the central part of the images, beside 28
REMEDIES = {
    "nothing": [],
    "dequantization": ["data.dequantizer=uniform"],
    "eps 1e-2": ["model.flow.norm.eps=1e-2"],
    "eps 1": ["model.flow.norm.eps=1.0"],
    "momentum 0.05": ["model.flow.norm.momentum=0.05"],
    "running averages": ["model.flow.norm.policy=running", "model.flow.norm.momentum=0.05"],
    "training set's statistics": ["callbacks=recompute_statistics", "trainer.val_check_interval=30"],
    "ActNorm": ["model.norm=actnorm"],
}
CURED = 1e4  # nats per image, below which the loss counts as cured
BATCH_SIZES = (32, 128, 512)
N_TRAINED = 12_800  # images, at every batch size
POLICIES = {
    "batch": [],
    "running": ["model.flow.norm.policy=running"],
    "actnorm": ["model.norm=actnorm"],
}
FLAT = "riddle_07_batchnorm_explodes", ["data.dequantizer=uniform"]  # statistics of single pixels: one value an image


class Explosion(TypedDict):
    """Losses of a run in nats, and how far its normalisations magnify.

    Attributes:
        train_loss: Mean loss of the last ten training steps.
        validation_loss: Loss of validation images.
        predicted_loss: What :func:`predicted_loss` returns.
        constant_share: Share of pixels with the same grey level in all of 64 training images.
        largest_after_layers: Largest absolute value after each normalisation.
        largest_factors: Largest factor of each normalisation.
    """

    train_loss: float
    validation_loss: float
    predicted_loss: float
    constant_share: float
    largest_after_layers: list[float]
    largest_factors: list[float]


def batchnorm_explodes(riddle: Riddle) -> Outcome:
    """Answer riddle 7: validation loss against layers and constant pixels, its prediction, and each remedy."""
    by_depth = {depth: _explosion(train(riddle.name, [f"model.flow.n_couplings={depth}"])) for depth in DEPTHS}
    by_crop = {}
    with tempfile.TemporaryDirectory() as folder:
        for side in CROPS:
            path = _crop(side, Path(folder))
            by_crop[side] = _explosion(train(riddle.name, ["data=array", f"path={path}"]))
    by_crop[28] = by_depth[4]
    runs = {name: train(riddle.name, overrides) for name, overrides in REMEDIES.items()}
    explosions = {name: _explosion(run) for name, run in runs.items()}
    remedies = {name: {"curve": runs[name].curve, **explosion} for name, explosion in explosions.items()}
    losses = [row["validation_loss"] for row in by_depth.values()]
    cropped = [row["validation_loss"] for row in by_crop.values()]
    misses = [abs(np.log10(row["predicted_loss"] / row["validation_loss"])) for row in by_depth.values()]
    said = ", ".join(f"{name} {row['validation_loss']:.2g}" for name, row in explosions.items())
    found = (
        f"validation loss with {', '.join(map(str, DEPTHS))} layers {', '.join(f'{loss:.1g}' for loss in losses)} "
        f"nats, predicted within {max(misses):.1f} decades; with {_shares(by_crop)} constant pixels "
        f"{', '.join(f'{loss:.1g}' for loss in cropped)}; remedies: {said}"
    )
    grows = losses[-1] > losses[0] and by_crop[28]["validation_loss"] > by_crop[CROPS[0]]["validation_loss"]
    is_cured = {name: row["validation_loss"] < CURED for name, row in explosions.items() if name != "nothing"}
    holds = max(misses) <= 2 and grows and is_cured["dequantization"]
    result = "refuted" if not holds else "confirmed" if all(is_cured.values()) else "partly"
    return Outcome(result, found, {"by_layers": by_depth, "by_crop": by_crop, "remedies": remedies})


def batchnorm_batch_size(riddle: Riddle) -> Outcome:
    """Answer riddle 15: how much worse evaluation is than training, by policy and batch size."""
    flows = {policy: (riddle.name, overrides) for policy, overrides in POLICIES.items()}
    flows["batch, flat vectors"] = FLAT
    table = {
        policy: {size: _excess(name, overrides, size) for size in BATCH_SIZES}
        for policy, (name, overrides) in flows.items()
    }
    small, large = BATCH_SIZES[0], BATCH_SIZES[-1]
    excess = {policy: [row["excess"] for row in rows.values()] for policy, rows in table.items()}
    said = "; ".join(f"{policy} {', '.join(f'{one:+.3f}' for one in some)}" for policy, some in excess.items())
    sizes = ", ".join(map(str, BATCH_SIZES))
    found = f"excess of evaluation over training at {sizes} images a batch, bits per dimension: {said}"
    of_batch = table["batch"]
    is_sensitive = of_batch[small]["excess"] > 2 * max(of_batch[large]["excess"], 0)
    others = max(table[policy][small]["excess"] for policy in ("running", "actnorm"))
    result = "confirmed" if is_sensitive and others <= of_batch[small]["excess"] else "refuted"
    return Outcome(result, found, table)


def _excess(name: str, overrides: list[str], batch_size: int) -> dict[str, float]:
    """Train with a batch size; return the validation bpd, and its excess over that of the last training steps."""
    n_steps = N_TRAINED // batch_size
    settings = [f"data.batch_size={batch_size}", f"trainer.max_steps={n_steps}", "trainer.val_check_interval=100000"]
    run = train(name, [*overrides, *settings])
    last = run.losses[-max(n_steps // 10, 2) :]
    return {"bpd": run.bpd, "excess": bits_per_dim(sum(last) / len(last) - run.loss, 0.0, run.flow.dims)}


def _explosion(run: Run) -> Explosion:
    """Return losses of a run, the predicted loss, and the largest value after each normalisation."""
    task = run.task(N_SCORED)
    reached = reached_layers(run.flow.bijector, task.batch.x)
    norms = [(one.layer, one.x) for one in reached if isinstance(one.layer, NORMS)]
    return {
        "train_loss": sum(run.losses[-10:]) / len(run.losses[-10:]),
        "validation_loss": -task.scores.log_ratio.mean().item(),
        "predicted_loss": predicted_loss(task),
        "constant_share": _constant_share(run),
        "largest_after_layers": [norm(x)[0].abs().max().item() for norm, x in norms],
        "largest_factors": [_factors(norm).max().item() for norm, _ in norms],
    }


@torch.no_grad()
def _factors(norm: BatchNorm | ActNorm) -> Tensor:
    """Return the factors by which a normalisation multiplies each dimension in evaluation."""
    if isinstance(norm, ActNorm):
        return norm.log_scale.exp()
    return norm.log_gamma.exp() * (norm.running_var + norm.eps).rsqrt()


@torch.no_grad()
def predicted_loss(task: DiagnosisTask) -> float:
    """Return the loss that the factors of normalisation layers alone predict, in nats.

    This is half the squared norm of the images' deviations from the training mean, times the factors. Couplings are
    left out: they multiply by e at most, and add a bounded shift.
    """
    bijector, training = task.flow.bijector, task.train
    assert isinstance(bijector, Sequential)
    assert training is not None
    logit, flatten, *layers = bijector.layers()
    deviations, of_training = (flatten(logit(part.x)[0])[0].double() for part in (task.batch, training))
    deviations = deviations - of_training.mean(0)
    for layer in layers:
        if isinstance(layer, Permutation):
            deviations = deviations[:, layer.order]
        elif isinstance(layer, NORMS):
            deviations = deviations * _factors(layer)
    return 0.5 * deviations.square().sum(1).mean().item()


def _constant_share(run: Run) -> float:
    """Return the share of pixels that have the same grey level in all of 64 training images."""
    levels = run.train.levels[:64]
    return (levels == levels[:1]).all(0).double().mean().item()


def _crop(side: int, folder: Path) -> Path:
    """Write the central part of MNIST's training images to a file for ``data=array``."""
    border = (28 - side) // 2
    images = mnist().train
    path = folder / f"crop_{side}.npz"
    cropped = images.levels[:, 0, border : border + side, border : border + side]
    np.savez(path, images=cropped.numpy(), labels=images.labels.numpy())
    return path


def _shares(rows: dict[int, Explosion]) -> str:
    return ", ".join(f"{row['constant_share']:.0%}" for row in rows.values())
