"""Helpers for several test files: tiny images, composed configurations, and commands run in this process."""

import contextlib
import importlib
import io
import logging
import signal
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra._internal.hydra import Hydra
from omegaconf import DictConfig
from torch import Tensor

from benchmarks.gpu.commands import SMALL as SIZES_OF_REHEARSAL
from nf_mnist.app.building import build_datamodule, build_module, build_trainer
from nf_mnist.app.composing import config_dir, register_resolvers
from nf_mnist.flows import Flow
from nf_mnist.training.datamodule import ImageDataModule
from nf_mnist.training.module import FlowModule

NOISE = "{_target_:nf_mnist.flows.uva_noise,event_shape:[1,14,14],n_couplings:2,hidden_channels:4}"
VIEWS = ("samples", "radius", "moments", "projection", "round_trip", "inpainting")
SMALL = {
    **SIZES_OF_REHEARSAL,
    "resflow_double_tanh": ["model.flow.n_scales=2", "model.flow.hidden_channels=4", "model.flow.mlp_features=4"],
    "conditional": ["model.flow.n_scales=1", "model.flow.channels=4", "model.flow.n_blocks=1"],
    "hierarchical_small": ["model.flow.n_scales=1", "model.flow.channels=4", "model.flow.n_blocks=1"],
    "hierarchical_large": ["model.flow.n_scales=1", "model.flow.channels=4", "model.flow.n_blocks=1"],
    "nice": ["model.flow.n_couplings=2", "model.flow.hidden_features=8", "model.flow.n_hidden=1"],
    "maf": ["model.flow.n_layers=2", "model.flow.hidden_features=8"],
    "iaf": ["model.flow.n_layers=1", "model.flow.hidden_features=8"],
    "residual_flow": [
        "model.flow.n_scales=2",
        "model.flow.n_blocks=1",
        "model.flow.hidden_channels=4",
        "model.flow.n_dense_blocks=1",
        "model.flow.dense_features=4",
    ],
    "realnvp": ["model.flow.n_scales=2", "model.flow.hidden_channels=4", "model.flow.n_blocks=1"],
    "spline": ["model.flow.n_scales=1", "model.flow.n_steps=2", "model.flow.hidden_channels=4"],
    "ffjord": ["model.flow.unet_channels=8", "model.flow.n_training_steps=1", "model.flow.tolerance=0.1"],
    "flow_matching": ["model.flow.unet_channels=8", "model.flow.n_sampling_steps=2", "model.flow.tolerance=0.1"],
    "jet": [
        "model.flow.patch_size=7",
        "model.flow.n_couplings=3",
        "model.flow.transformer_features=8",
        "model.flow.transformer_blocks=1",
    ],
    "uva_simple": ["model.flow.n_couplings_at=[2]", "model.flow.hidden_channels_at=[4]"],
    "uva_vardeq": [
        "model.flow.n_couplings_at=[2]",
        "model.flow.hidden_channels_at=[4]",
        "model.noise.hidden_channels=4",
    ],
    "uva_multiscale": [
        "model.flow.n_couplings_at=[1,2]",
        "model.flow.hidden_channels_at=[4,4]",
        "model.noise.hidden_channels=4",
    ],
    "cp3": ["model.flow.n_couplings=2", "model.flow.hidden_channels=16", "model.flow.mlp_features=8"],
}


class Finished(NamedTuple):
    """The exit status of a command and what it printed."""

    code: int
    out: str
    err: str


class Fit(NamedTuple):
    """A finished training: its trainer, module and images."""

    trainer: L.Trainer
    module: FlowModule
    data: ImageDataModule


def write_images(path: Path, n: int = 96, side: int = 14) -> Path:
    """Write ``n`` images of a bar with random position and brightness on black, and random labels."""
    draw = np.random.default_rng(0)
    images = np.zeros((n, side, side), dtype=np.uint8)
    for image, column, level in zip(images, draw.integers(2, side - 4, n), draw.integers(100, 256, n), strict=True):
        image[2:-2, column : column + 3] = level
    np.savez(path, images=images, labels=draw.integers(0, 10, n))
    return path


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write an array of unsigned bytes as http://yann.lecun.com/exdb/mnist describes it."""
    sides = b"".join(side.to_bytes(4, "big") for side in array.shape)
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + sides + array.astype(np.uint8).tobytes())


def tiny_overrides(images: Path, folder: Path, model: str = "resflow", views: Sequence[str] = ()) -> list[str]:
    """Return overrides of ``conf/train.yaml`` for a training of a second; only the named views are shown."""
    return [
        f"model={model}",
        *SMALL[model],
        "data=array",
        f"path={images}",
        f"output_dir={folder}",
        "name=tiny",
        "data.batch_size=16",
        "data.eval_batch_size=8",
        "trainer.accelerator=cpu",
        "trainer.precision=32-true",
        "trainer.max_epochs=-1",
        "evaluation.n_draws=2",
        *(f"callbacks.{view}=null" for view in VIEWS if view not in views),
    ]


def merge(base: Sequence[str], others: Sequence[str]) -> list[str]:
    """Join overrides; a later one replaces an earlier one with the same key."""
    return list({text.partition("=")[0]: text for text in (*base, *others)}.values())


def compose_config(overrides: Sequence[str], name: str = "train") -> DictConfig:
    """Compose a command's configuration as its command line would."""
    register_resolvers()
    with initialize_config_dir(config_dir(), version_base="1.3"):
        return compose(name, overrides=list(overrides))


def fit(
    overrides: Sequence[str], callbacks: Sequence[L.Callback] = (), ckpt: Path | None = None, expect: Any = None
) -> Fit:
    """Train as the command does, with additional callbacks; ``expect`` is the exception that should end it."""
    cfg = compose_config(merge(overrides, ["run_dir=${output_dir}"]))
    data = build_datamodule(cfg)
    data.setup()
    module = build_module(cfg)
    trainer = build_trainer(cfg)
    trainer.callbacks[:0] = callbacks
    with pytest.raises(expect) if expect else contextlib.nullcontext():
        trainer.fit(module, datamodule=data, ckpt_path=ckpt, weights_only=True)
    return Fit(trainer, module, data)


def integral_over_two_pixels(flow: Flow, low: float, high: float, n: int) -> float:
    """Return the integral of a density of images of 1x2 pixels, summed over n x n points between two values."""
    axis = torch.linspace(low, high, n, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis).reshape(-1, 1, 1, 2)
    with torch.no_grad():
        return (flow.log_prob(grid).exp().sum() * (axis[1] - axis[0]) ** 2).item()


def run_command(name: str, *argv: str) -> Finished:
    """Run ``python -m nf_mnist.NAME argv`` in this process, and restore the process's state afterwards."""
    command = importlib.import_module(f"nf_mnist.{name}").main
    out, err, code = io.StringIO(), io.StringIO(), 0
    on_sigterm = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch, _logging_restored():
        patch.setattr(sys, "argv", [f"nf_mnist.{name}", *argv])
        # Hydra composes the configuration twice, the first time for hydra.mode alone, which no file of conf/ sets.
        patch.setattr(Hydra, "get_mode", lambda self, config_name, overrides: None)
        patch.setenv("HYDRA_FULL_ERROR", "")
        patch.setattr(warnings, "formatwarning", warnings.formatwarning)  # commands replace it
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                command()
            except SystemExit as ending:
                code = ending.code or 0
            finally:
                signal.signal(signal.SIGTERM, on_sigterm)
    return Finished(code, out.getvalue(), err.getvalue())


def first_difference(one: Any, other: Any, where: str = "") -> str:
    """Return the first place where two nested dicts, lists, tensors or values differ in a bit, or ''."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        if one.keys() != other.keys():
            return f"{where}: keys differ"
        return next(filter(None, (first_difference(one[key], other[key], f"{where}.{key}") for key in one)), "")
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        pairs = zip(one, other, strict=True)
        return next(filter(None, (first_difference(*pair, f"{where}[{i}]") for i, pair in enumerate(pairs))), "")
    same = torch.equal(one, other) if isinstance(one, Tensor) and isinstance(other, Tensor) else one == other
    return "" if same else f"{where} differs"


@contextlib.contextmanager
def _logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        for handler in set(root.handlers) - set(handlers):
            handler.close()
        root.handlers, root.level = handlers, level


class Recorder(L.Callback):
    """Records the loss and the learning rate of each step, and the weights and statistics after it."""

    def __init__(self):
        self.losses, self.rates, self.weights = [], [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(float(outputs["loss"]))
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.weights.append({name: value.clone() for name, value in pl_module.state_dict().items()})


def is_shown(image: Tensor, picture: Tensor) -> bool:
    """Return whether an image, shape (height, width), is in a picture, shape (rows, columns), enlarged or not."""
    height, width = image.shape
    for scale in range(1, min(picture.shape[0] // height, picture.shape[1] // width) + 1):
        enlarged = image.repeat_interleave(scale, 0).repeat_interleave(scale, 1)
        corners = (picture == image[0, 0]).nonzero().tolist()
        if any(torch.equal(picture[y : y + scale * height, x : x + scale * width], enlarged) for y, x in corners):
            return True
    return False


def step_of(path: Path) -> int:
    """Return the step of a checkpoint; reading it must succeed at any time."""
    return torch.load(path, weights_only=True)["global_step"]
