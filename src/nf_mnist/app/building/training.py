"""What trains: Lightning's module and trainer, of a flow or of the classifier. Lightning is imported on first use."""

import logging
import re
from typing import TYPE_CHECKING, Any, cast

import torch
from omegaconf import DictConfig, OmegaConf

from nf_mnist.app.building.flow import build_dequantizer, build_flow
from nf_mnist.app.composing import instantiate
from nf_mnist.errors import ConfigError
from nf_mnist.hardware import resolve_accelerator, resolve_precision

if TYPE_CHECKING:
    import lightning as L

    from nf_mnist.training.classifier_module import ClassifierModule
    from nf_mnist.training.module import FlowModule


def build_module(cfg: DictConfig) -> "FlowModule":
    """Build the Lightning module of a flow; its weights depend on the seed alone.

    Raises:
        ConfigError: If a part cannot be built.
    """
    from nf_mnist.training.module import FlowModule

    torch.manual_seed(cfg.seed)
    module = FlowModule(
        flow=build_flow(cfg.model),
        dequantizer=build_dequantizer(cfg.data, cfg.model),
        optimizer=instantiate(cfg.optimizer),
        schedule=instantiate(cfg.scheduler),
        seed=cfg.seed,
        max_shift=cfg.data.max_shift,
        distortion=cfg.data.distortion,
    )
    if cfg.trainable is not None:
        _freeze_others(module, str(cfg.trainable))
    try:
        module.configure_optimizers()
    except (TypeError, ValueError) as error:
        raise ConfigError(f"cannot build {cfg.optimizer._target_}: {error}") from error
    return module


def _freeze_others(module: "FlowModule", trainable: str) -> None:
    """Freeze every parameter in whose name a regular expression is not found.

    Raises:
        ConfigError: If it is no regular expression, or is found in no name.
    """
    try:
        pattern = re.compile(trainable)
    except re.error as error:
        raise ConfigError(f"trainable={trainable} is no regular expression: {error}") from error
    parameters = dict(module.named_parameters())
    for name, value in parameters.items():
        value.requires_grad_(pattern.search(name) is not None)
    if not any(value.requires_grad for value in parameters.values()):
        first = next(iter(parameters))
        raise ConfigError(f"trainable={trainable} is in no parameter's name, of which the first is {first}")


def build_classifier_module(cfg: DictConfig) -> "ClassifierModule":
    """Build the Lightning module of the classifier; its weights depend on the seed alone."""
    from nf_mnist.training.classifier_module import ClassifierModule

    torch.manual_seed(cfg.seed)
    classifier = instantiate(cfg.classifier).to(memory_format=torch.channels_last)
    return ClassifierModule(
        classifier, cfg.distortion, instantiate(cfg.optimizer), instantiate(cfg.scheduler), cfg.seed
    )


def build_trainer(cfg: DictConfig) -> "L.Trainer":
    """Build the Lightning trainer with its callbacks and loggers; an entry that is null is left out.

    Raises:
        ConfigError: If gradients would have to be clipped that are still scaled.
        MachineError: If the machine lacks the accelerator; see :func:`~nf_mnist.hardware.resolve_accelerator`.
    """
    from nf_mnist.training.callbacks import StoreConfig

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)  # importing Lightning set it to INFO
    callbacks = _all_of(cfg, "callbacks")
    callbacks.append(StoreConfig(cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))))
    accelerator = resolve_accelerator(cfg.trainer.accelerator)
    precision = resolve_precision(cfg.trainer.precision, accelerator)
    if precision == "16-mixed" and cfg.trainer.gradient_clip_val and cfg.optimizer.get("fused"):
        raise ConfigError(
            "a fused optimizer cannot clip the scaled gradients of trainer.precision=16-mixed; use bf16-mixed, "
            "or optimizer.fused=false"
        )
    return instantiate(
        cfg.trainer, callbacks=callbacks, logger=_all_of(cfg, "logger"), accelerator=accelerator, precision=precision
    )


def _all_of(cfg: DictConfig, group: str) -> list[Any]:
    return [instantiate(node) for node in cfg.get(group, {}).values() if node is not None]
