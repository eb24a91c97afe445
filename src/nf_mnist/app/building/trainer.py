"""Lightning's trainer, which is imported on first use."""

import logging
from typing import TYPE_CHECKING, Any, cast

import torch
from omegaconf import DictConfig, OmegaConf

from nf_mnist.app.composing import instantiate
from nf_mnist.errors import ConfigError
from nf_mnist.hardware import resolve_accelerator, resolve_precision

if TYPE_CHECKING:
    import lightning as L

# PyTorch scales the loss by 2^16 at first. The gradient of a loss in nats per image then exceeds float16's 65,504.
INITIAL_LOSS_SCALE = 2.0**6


def build_trainer(cfg: DictConfig) -> "L.Trainer":
    """Build the Lightning trainer with its callbacks and loggers; an entry that is null is left out.

    Raises:
        ConfigError: If gradients would have to be clipped or skipped that are still scaled.
        MachineError: If the machine lacks the accelerator; see :func:`~nf_mnist.hardware.resolve_accelerator`.
    """
    from nf_mnist.training.callbacks import StoreConfig
    from nf_mnist.training.processes import check_launcher

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)  # importing Lightning set it to INFO
    logging.getLogger("lightning.pytorch.profilers").setLevel(logging.INFO)  # where trainer.profiler prints its report
    callbacks = _all_of(cfg, "callbacks")
    accelerator = resolve_accelerator(cfg.trainer.accelerator)
    precision = resolve_precision(cfg.trainer.precision, accelerator)
    if precision == "16-mixed":
        _check_unscaled(cfg, callbacks)
    callbacks.append(StoreConfig(cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))))
    trainer = instantiate(
        cfg.trainer, callbacks=callbacks, logger=_all_of(cfg, "logger"), accelerator=accelerator, precision=precision
    )
    check_launcher(trainer, cfg.trainer.strategy)
    if getattr(trainer.precision_plugin, "scaler", None) is not None:
        device = trainer.strategy.root_device.type
        trainer.precision_plugin.scaler = torch.amp.GradScaler(device, init_scale=INITIAL_LOSS_SCALE)
    return trainer


def _check_unscaled(cfg: DictConfig, callbacks: list[Any]) -> None:
    """Refuse to read gradients before a fused optimizer unscales them, which it does in its step."""
    from nf_mnist.training.callbacks import SkipBadSteps

    reads = [f"trainer.gradient_clip_val={cfg.trainer.gradient_clip_val}"] if cfg.trainer.gradient_clip_val else []
    reads += ["callbacks=skip_bad_steps"] if any(isinstance(callback, SkipBadSteps) for callback in callbacks) else []
    if reads and cfg.optimizer.get("fused"):
        raise ConfigError(
            f"{reads[0]} reads gradients, which trainer.precision=16-mixed scales and a fused optimizer unscales too "
            "late; use trainer.precision=bf16-mixed or optimizer.fused=false"
        )


def _all_of(cfg: DictConfig, group: str) -> list[Any]:
    return [instantiate(node) for node in cfg.get(group, {}).values() if node is not None]
