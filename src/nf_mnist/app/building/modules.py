"""Lightning's module of a flow or of the classifier. Lightning is imported on first use."""

import re
from typing import TYPE_CHECKING

import torch
from omegaconf import DictConfig

from nf_mnist.app.building.flow import build_dequantizer, build_flow
from nf_mnist.app.composing import instantiate
from nf_mnist.errors import ConfigError, first_line

if TYPE_CHECKING:
    from nf_mnist.training.classifier_module import ClassifierModule
    from nf_mnist.training.module import FlowModule


def build_module(cfg: DictConfig) -> "FlowModule":
    """Build the Lightning module of a flow; its weights depend on the seed alone.

    Raises:
        ConfigError: If a part cannot be built, or the flow has no parameters.
    """
    from nf_mnist.training.module import FlowModule
    from nf_mnist.training.rerendering import Rerendering

    torch.manual_seed(cfg.seed)
    module = FlowModule(
        flow=build_flow(cfg.model),
        dequantizer=build_dequantizer(cfg.data, cfg.model),
        optimizer=instantiate(cfg.optimizer),
        schedule=instantiate(cfg.scheduler),
        seed=cfg.seed,
        max_shift=cfg.data.max_shift,
        distortion=cfg.data.distortion,
        rerendering=Rerendering(amount, cfg.data.event_shape) if (amount := cfg.data.get("rerender", 0.0)) else None,
    )
    if next(module.parameters(), None) is None:
        raise ConfigError(
            "the flow has no parameters to train; PyTorch finds layers in an nn.ModuleList, not those in a list"
        )
    if cfg.trainable is not None:
        _freeze_others(module, str(cfg.trainable))
    _check_optimizer(module, cfg)
    return module


def _check_optimizer(module: "FlowModule | ClassifierModule", cfg: DictConfig) -> None:
    """Build the optimizer once, so that its settings are refused before Lightning meets them.

    Raises:
        ConfigError: If it cannot be built.
    """
    try:
        module.configure_optimizers()
    except Exception as error:  # torch's constructors raise anything where they get another kind of value
        raise ConfigError(f"cannot build {cfg.optimizer._target_}: {first_line(error)}") from error


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
    """Build the Lightning module of the classifier; its weights depend on the seed alone.

    Raises:
        ConfigError: If a part cannot be built.
    """
    from nf_mnist.training.classifier_module import ClassifierModule

    torch.manual_seed(cfg.seed)
    classifier = instantiate(cfg.classifier).to(memory_format=torch.channels_last)
    module = ClassifierModule(
        classifier, cfg.distortion, instantiate(cfg.optimizer), instantiate(cfg.scheduler), cfg.seed
    )
    _check_optimizer(module, cfg)
    return module
