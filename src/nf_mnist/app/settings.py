"""Settings that no function of nf_mnist checks, checked before anything is built.

The arguments of nf_mnist's own functions are checked elsewhere: their kinds by :mod:`nf_mnist.app.kinds`, and their
ranges by the functions themselves.
"""

import re
from collections.abc import Collection, Iterable
from typing import NamedTuple

from omegaconf import DictConfig, OmegaConf

from nf_mnist.app.kinds import KINDS, check_kind, is_a, shown
from nf_mnist.checkpoints import old_names
from nf_mnist.errors import ConfigError, MachineError
from nf_mnist.hardware import check_n_devices, resolve_accelerator

INF = float("inf")


class Range(NamedTuple):
    """The kind of a setting, and its smallest and largest value."""

    kind: type
    low: float
    high: float = INF


COUNT = Range(int, 1, 2**31 - 1)  # of images, steps and the like, more than anybody has
SEED = Range(int, 0, 2**32 - 1)
NOT_NEGATIVE = Range(float, 0)
POSITIVE = Range(float, 5e-324)  # the smallest float above 0
SHARE = Range(float, 0, 1)
BUDGET = Range(int, -1)  # -1: unlimited

# A setting that the command does not have is not checked.
RANGES = {
    # arguments of Lightning's and torch's constructors, which check them late, or not at all
    "optimizer.lr": NOT_NEGATIVE,
    "optimizer.weight_decay": NOT_NEGATIVE,
    "trainer.max_steps": BUDGET,
    "trainer.max_epochs": BUDGET,
    "trainer.gradient_clip_val": NOT_NEGATIVE,
    "trainer.accumulate_grad_batches": COUNT,
    "trainer.log_every_n_steps": COUNT,
    "trainer.val_check_interval": POSITIVE,
    "trainer.limit_val_batches": POSITIVE,
    # arguments of inpainting methods, which are called only after the images have been read
    "method.n_steps": COUNT,
    "method.n_chains": COUNT,
    "method.thinning": COUNT,
    "method.n_leapfrog": COUNT,
    "method.step": POSITIVE,
    "method.clip": POSITIVE,
    "method.latent_weight": NOT_NEGATIVE,
    "method.n_warmup": Range(int, 0),
    # settings of the commands themselves
    "seed": SEED,
    "n": COUNT,
    "n_images": COUNT,
    "check_seconds": POSITIVE,
    "n_samples": COUNT,
    "batch_size": COUNT,
    "label": Range(int, 0),
    "temperature": NOT_NEGATIVE,
    "guidance": NOT_NEGATIVE,
    "attention_temperature": POSITIVE,
    "distortion": SHARE,
    "port": Range(int, 1, 65535),
    "data.batch_size": COUNT,
    "data.eval_batch_size": COUNT,
    "data.split_seed": SEED,
    "data.n_validation": NOT_NEGATIVE,
    "data.max_shift": Range(int, 0),
    "data.distortion": SHARE,
    "data.rerender": Range(float, 0, 0.5),
    "data.noise_std": POSITIVE,
    "evaluation.n_images": COUNT,
    "evaluation.n_draws": COUNT,
    "evaluation.batch_size": COUNT,
    "evaluation.seed": SEED,
    "samples.n": Range(int, 4),
    "samples.batch_size": COUNT,
    "samples.seed": SEED,
    "samples.guidance": NOT_NEGATIVE,
    "samples.attention_temperature": POSITIVE,
}
SWITCHES = (
    *("model.channels_last", "model.recompute", "data.count_log_det"),
    *("quality", "classify", "denoise", "samples.denoise"),
)
NULLABLE = {"label", "attention_temperature", "trainer.gradient_clip_val", "evaluation.n_images"}
NULLABLE_IN_EVALUATE = {
    *(key for key in RANGES if key.startswith("evaluation.")),  # null: as in the training run
    "samples.attention_temperature",
}
AUTO, AUTOMATIC = "auto", {"data.batch_size"}  # what a training may measure instead of being told
SPLITS = ("validation", "test")


def check_names(arguments: Iterable[str]) -> None:
    """Refuse the names that settings had in earlier versions.

    Args:
        arguments: The arguments of a command, such as ``seed=1``.

    Raises:
        ConfigError: Naming the present name of the setting.
    """
    for argument in arguments:
        setting = argument.lstrip("+~").partition("=")[0]
        if setting in old_names.SETTINGS:
            raise ConfigError(f"{setting} is now {old_names.SETTINGS[setting]}")
        if argument in old_names.VALUES:
            raise ConfigError(f"{argument} is now {old_names.VALUES[argument]}")


def check_ranges(cfg: DictConfig, nullable: Collection[str] = NULLABLE) -> None:
    """Check every setting of :data:`RANGES` and :data:`SWITCHES` that is present.

    Args:
        cfg: The configuration of a command.
        nullable: The settings that may be null.

    Raises:
        ConfigError: Naming the first setting that is of the wrong kind or out of range.
    """
    for key, (kind, low, high) in RANGES.items():
        value = OmegaConf.select(cfg, key, default=low)
        if (value is None and key in nullable) or (value == AUTO and key in AUTOMATIC):
            continue
        if not is_a(value, kind) or not low <= value <= high:
            raise ConfigError(f"{key} must be {KINDS[kind]} {_bounds(low, high)}, got {shown(value)}")
    for key in SWITCHES:
        check_kind(key, OmegaConf.select(cfg, key, default=False), bool)


def _bounds(low: float, high: float) -> str:
    if low == POSITIVE.low:
        return "above 0"
    return f"of at least {low}" if high == INF else f"from {low} to {high}"


def check_training(cfg: DictConfig) -> None:
    """Check the settings of a training that no function of nf_mnist checks.

    Args:
        cfg: The configuration of a command that trains.

    Raises:
        ConfigError: Naming the first setting that is of the wrong kind, out of range, or not supported.
        MachineError: If the accelerator is not there.
    """
    check_ranges(cfg)
    accelerator = resolve_accelerator(cfg.trainer.accelerator)
    check_n_devices(cfg.trainer.devices, accelerator)
    _check_batch_size(cfg, accelerator)
    _check_duration(cfg.trainer.max_time)
    _check_budget(cfg)
    _check_loader(cfg)


def _check_batch_size(cfg: DictConfig, accelerator: str) -> None:
    """Check that there is one GPU, and a flow, to find a batch size for if none is given."""
    if cfg.data.batch_size != AUTO:
        return
    if accelerator == "cpu":
        raise MachineError(
            "data.batch_size=auto finds the batch size for a GPU, and this training runs on the CPU; give a number, "
            "such as data.batch_size=128"
        )
    if "model" not in cfg or cfg.trainer.devices != 1 or cfg.trainer.num_nodes != 1:
        raise ConfigError(
            "data.batch_size=auto finds the batch size of a flow for one GPU (trainer.devices=1); give a number here"
        )


def _check_budget(cfg: DictConfig) -> None:
    """Check that a training ends: without a budget of steps, epochs or time, the learning rate never rises either."""
    if cfg.trainer.max_time is None and cfg.trainer.max_steps == cfg.trainer.max_epochs == -1:
        raise ConfigError(
            "trainer.max_epochs=-1 needs another budget: set trainer.max_steps, or trainer.max_time=DD:HH:MM:SS"
        )


def _check_loader(cfg: DictConfig) -> None:
    """Refuse arguments of Lightning's Trainer that the loaders of nf_mnist do not follow."""
    if cfg.trainer.get("overfit_batches"):
        raise ConfigError("trainer.overfit_batches is not supported: every epoch is shuffled; use debug=overfit")
    if cfg.trainer.get("reload_dataloaders_every_n_epochs"):
        raise ConfigError("trainer.reload_dataloaders_every_n_epochs is not supported: every epoch is shuffled anyway")


def _check_duration(duration: object) -> None:
    """Check that a budget of time is null or DD:HH:MM:SS."""
    if duration is not None and not re.fullmatch(r"\d+:\d\d:\d\d:\d\d", str(duration)):
        raise ConfigError(f"trainer.max_time must be DD:HH:MM:SS or null, got {duration!r}; an hour is 00:01:00:00")


def check_split(split: str) -> None:
    """Check which images are asked for.

    Raises:
        ConfigError: If the split is unknown.
    """
    if split not in SPLITS:
        raise ConfigError(f"unknown split {split!r}; choose validation or test")
