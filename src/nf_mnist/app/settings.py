"""Settings checked before anything is built, so that a mistake costs a second and not a night."""

import re
from collections.abc import Iterable

from omegaconf import DictConfig, OmegaConf

from nf_mnist.checkpoints import old_names
from nf_mnist.errors import ConfigError

WHOLE, REAL, POSITIVE = "a whole number", "a number", "a number above 0"
INF = float("inf")

# setting: (kind, smallest, largest); a setting that the command does not have is not checked
RANGES: dict[str, tuple[str, float, float]] = {
    "seed": (WHOLE, 0, 2**32 - 1),
    "data.batch_size": (WHOLE, 1, INF),
    "data.eval_batch_size": (WHOLE, 1, INF),
    "data.split_seed": (WHOLE, 0, 2**32 - 1),
    "data.n_validation": (REAL, 0, INF),
    "data.max_shift": (WHOLE, 0, INF),
    "data.distortion": (REAL, 0, 1),
    "data.logit_alpha": (REAL, 0, 0.5),
    "optimizer.lr": (REAL, 0, INF),
    "optimizer.matrix_lr": (REAL, 0, INF),
    "optimizer.weight_decay": (REAL, 0, INF),
    "callbacks.ema.decay": (REAL, 0, 1),
    "scheduler.warmup": (REAL, 0, 1),
    "scheduler.final": (REAL, 0, 1),
    "trainer.max_steps": (WHOLE, -1, INF),
    "trainer.max_epochs": (WHOLE, -1, INF),
    "trainer.gradient_clip_val": (REAL, 0, INF),
    "trainer.accumulate_grad_batches": (WHOLE, 1, INF),
    "trainer.log_every_n_steps": (WHOLE, 1, INF),
    "trainer.val_check_interval": (POSITIVE, 0, INF),
    "trainer.limit_val_batches": (POSITIVE, 0, INF),
    "evaluation.n_images": (WHOLE, 1, INF),
    "evaluation.n_draws": (WHOLE, 1, INF),
    "evaluation.batch_size": (WHOLE, 1, INF),
    "evaluation.seed": (WHOLE, 0, 2**32 - 1),
    "samples.n": (WHOLE, 4, INF),
    "samples.batch_size": (WHOLE, 1, INF),
    "samples.seed": (WHOLE, 0, 2**32 - 1),
    "model.flow.hidden_channels": (WHOLE, 1, INF),
    "model.flow.mlp_features": (WHOLE, 0, INF),
    "model.flow.n_couplings": (WHOLE, 1, INF),
    "model.flow.n_steps": (WHOLE, 1, INF),
    "model.flow.n_blocks": (WHOLE, 0, INF),
    "model.flow.n_hidden": (WHOLE, 0, INF),
    "model.flow.hidden_features": (WHOLE, 1, INF),
    "model.flow.n_bins": (WHOLE, 1, INF),
    "model.flow.n_classes": (WHOLE, 0, INF),
    "model.flow.n_scales": (WHOLE, 0, 16),
    "model.flow.n_groups": (WHOLE, 1, INF),
    "model.flow.channels": (WHOLE, 1, INF),
    "model.flow.n_components": (WHOLE, 1, INF),
    "model.flow.n_references": (WHOLE, 0, INF),
    "model.flow.n_frequent": (WHOLE, 0, 255),
    "model.flow.transformer_features": (WHOLE, 1, INF),
    "model.flow.transformer_heads": (WHOLE, 1, INF),
    "model.flow.transformer_blocks": (WHOLE, 0, INF),
    "model.noise.n_couplings": (WHOLE, 1, INF),
    "model.noise.hidden_channels": (WHOLE, 1, INF),
    "classifier.channels": (WHOLE, 1, INF),
    "distortion": (REAL, 0, 1),
    "batch_size": (WHOLE, 1, INF),
    "label": (WHOLE, 0, INF),
    "method.n_steps": (WHOLE, 1, INF),
    "method.n_chains": (WHOLE, 1, INF),
    "method.thinning": (WHOLE, 1, INF),
    "method.n_leapfrog": (WHOLE, 1, INF),
    "method.step": (POSITIVE, 0, INF),
    "method.clip": (POSITIVE, 0, INF),
    "method.latent_weight": (REAL, 0, INF),
    "method.n_warmup": (WHOLE, 0, INF),
    "n": (WHOLE, 1, INF),
    "n_images": (WHOLE, 1, INF),
    "n_samples": (WHOLE, 1, INF),
    "temperature": (REAL, 0, INF),
}
SWITCHES = ("model.channels_last", "model.compile", "model.recompute", "data.count_log_det", "quality", "classify")
NULLABLE = {"label", "trainer.gradient_clip_val", "evaluation.n_images"}
NULLABLE_IN_EVALUATE = {key for key in RANGES if key.startswith("evaluation.")}  # null: as in the training run

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


def check_ranges(cfg: DictConfig, nullable: Iterable[str] = NULLABLE) -> None:
    """Check every setting of :data:`RANGES` and :data:`SWITCHES` that is present.

    Args:
        cfg: The configuration of a command.
        nullable: The settings that may be null.

    Raises:
        ConfigError: Naming the first setting that is of the wrong kind or out of range.
    """
    for key, (kind, low, high) in RANGES.items():
        value = OmegaConf.select(cfg, key, default=low if kind is not POSITIVE else 1)
        if value is None and key in nullable:
            continue
        is_number = isinstance(value, int if kind is WHOLE else (int, float)) and not isinstance(value, bool)
        if not is_number or not low <= value <= high or abs(value) == INF or (kind is POSITIVE and value == 0):
            bounds = (
                "" if kind is POSITIVE else f" of at least {low:g}" if high == INF else f" from {low:g} to {high:g}"
            )
            raise ConfigError(f"{key} must be {kind}{bounds}, got {value!r}")
    for key in SWITCHES:
        value = OmegaConf.select(cfg, key, default=False)
        if not isinstance(value, bool):  # "no" and "off" are words here, and a word would switch it on
            raise ConfigError(f"{key} must be true or false, got {value!r}")


def check_duration(duration: object) -> None:
    """Check a budget of time.

    Raises:
        ConfigError: If it is neither null nor DD:HH:MM:SS.
    """
    if duration is not None and not re.fullmatch(r"\d+:\d\d:\d\d:\d\d", str(duration)):
        raise ConfigError(f"trainer.max_time must be DD:HH:MM:SS or null, got {duration!r}; an hour is 00:01:00:00")


def check_split(split: str) -> None:
    """Check which images are asked for.

    Raises:
        ConfigError: If the split is unknown.
    """
    if split not in SPLITS:
        raise ConfigError(f"unknown split {split!r}; choose validation or test")
