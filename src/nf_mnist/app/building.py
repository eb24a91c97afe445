"""The one place that instantiates: from a composed configuration to built objects."""

import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate as hydra_instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf

from nf_mnist.errors import ConfigError, NFMnistError

if TYPE_CHECKING:
    import lightning as L

    from nf_mnist.data import Dequantizer, Images
    from nf_mnist.flows import Flow
    from nf_mnist.training.classifier_module import ClassifierModule
    from nf_mnist.training.datamodule import ImageDataModule
    from nf_mnist.training.module import FlowModule

PACKAGE = Path(__file__).parents[1]
# The networks of a flow share one function, of which torch.compile would keep 8 shapes, and run the others plainly.
COMPILED_SHAPES = 64


def config_dir() -> str:
    """Return the folder of the configuration files: ``conf`` of the checkout, or its copy in an installed package."""
    installed = PACKAGE / "conf"
    return str(installed if installed.is_dir() else PACKAGE.parent.parent / "conf")


def register_resolvers() -> None:
    """Make ``${array_event_shape:file}`` available: the shape of a user's own images, so that nobody types it."""

    def event_shape(path: str | None) -> ListConfig:
        from nf_mnist.data import array_event_shape

        return OmegaConf.create(array_event_shape(path))

    OmegaConf.register_new_resolver("array_event_shape", event_shape, replace=True)


def instantiate(node: Any, **extra: Any) -> Any:
    """Build what a node's ``_target_`` names, with plain dicts and lists inside.

    Raises:
        ConfigError: If the target cannot be built, in one line.
        NFMnistError: If the target itself raised one, unchanged.
    """
    try:
        return hydra_instantiate(node, _convert_="object", **extra)
    except InstantiationException as error:
        if isinstance(error.__cause__, NFMnistError):
            raise error.__cause__ from None
        cause = error.__cause__ or error
        target = node.get("_target_", "a part of the configuration") if isinstance(node, DictConfig) else repr(node)
        raise ConfigError(f"cannot build {target}: {(str(cause).splitlines() or [repr(cause)])[0]}") from error


def build_flow(model: DictConfig) -> "Flow":
    """Build the flow of a ``model`` node, laid out in memory and compiled as it asks."""
    return _arranged(instantiate(model.flow), model)


def build_dequantizer(data: DictConfig, model: DictConfig) -> "Dequantizer":
    """Build the dequantizer of a ``data`` node; where the ``model`` has a flow of noise, it is learned.

    Raises:
        ConfigError: If there is no dequantizer of that name, or a flow of noise meets another one than ``uniform``.
    """
    from nf_mnist.data import DEQUANTIZERS, VariationalDequantizer

    if data.dequantizer not in DEQUANTIZERS:
        raise ConfigError(f"unknown data.dequantizer {data.dequantizer!r}; choose one of {', '.join(DEQUANTIZERS)}")
    if model.get("noise") is None:
        return DEQUANTIZERS[data.dequantizer]()
    if data.dequantizer != "uniform":
        raise ConfigError(
            f"model.noise learns what data.dequantizer=uniform draws, got {data.dequantizer}; use model.noise=null"
        )
    return VariationalDequantizer(_arranged(instantiate(model.noise), model))


def _arranged(module: Any, model: DictConfig) -> Any:
    """Lay a flow out in memory as its ``model`` node asks; compile the networks of its couplings, or recompute them."""
    from nf_mnist.bijectors import Bijector

    if model.channels_last:
        module = module.to(memory_format=torch.channels_last)
    for bijector in (part for part in module.modules() if isinstance(part, Bijector)):
        networks = [part for part in bijector.children() if not isinstance(part, Bijector | torch.nn.ModuleList)]
        bijector.recompute = bool(networks and model.get("recompute"))
        if model.compile:
            _compile(networks)
    return module


def _compile(networks: Iterable[torch.nn.Module]) -> None:
    """Compile networks at their first call, in as many shapes as a flow's conditioners have."""
    import torch._dynamo

    torch._dynamo.config.recompile_limit = COMPILED_SHAPES
    for network in networks:
        network.compile()


def build_datamodule(cfg: DictConfig) -> "ImageDataModule":
    """Build the data module of a configuration.

    Raises:
        ConfigError: If the shape of an image is no list.
    """
    from nf_mnist.training.datamodule import ImageDataModule

    if not isinstance(cfg.data.event_shape, ListConfig):
        raise ConfigError(f"data.event_shape must be [channels,height,width], got {cfg.data.event_shape!r}")

    return ImageDataModule(
        source=lambda: instantiate(cfg.data.source),
        event_shape=tuple(cfg.data.event_shape),
        n_validation=cfg.data.n_validation,
        split_seed=cfg.data.split_seed,
        batch_size=cfg.data.batch_size,
        eval_batch_size=cfg.data.eval_batch_size,
        seed=cfg.seed,
    )


def load_split(data: DictConfig, name: str) -> "tuple[Images, Images]":
    """Return the images of a ``data`` node's split, ``validation`` or ``test``, and its training images."""
    from nf_mnist.data import split

    images, test = instantiate(data.source)
    validation, train = split(images, data.n_validation, data.split_seed)
    return (test if name == "test" else validation), train


def build_module(cfg: DictConfig) -> "FlowModule":
    """Build the Lightning module of a configuration; its weights depend on the seed alone."""
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
        _freeze_others(module, cfg.trainable)
    try:
        module.configure_optimizers()
    except (TypeError, ValueError) as error:
        raise ConfigError(f"cannot build {cfg.optimizer._target_}: {error}") from error
    return module


def _freeze_others(module: "FlowModule", trained: str) -> None:
    """Keep parameters as they are whose names do not hold a regular expression.

    Raises:
        ConfigError: If it is no regular expression, or no name holds it.
    """
    try:
        pattern = re.compile(str(trained))
    except re.error as error:
        raise ConfigError(f"trainable={trained} is no regular expression: {error}") from error
    parameters = dict(module.named_parameters())
    for name, value in parameters.items():
        value.requires_grad_(pattern.search(name) is not None)
    if not any(value.requires_grad for value in parameters.values()):
        first = next(iter(parameters))
        raise ConfigError(f"trainable={trained} is in no parameter's name, of which the first is {first}")


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
        MachineError: As :func:`~nf_mnist.hardware.resolve_accelerator`.
    """
    from nf_mnist.hardware import resolve_accelerator, resolve_precision
    from nf_mnist.training.callbacks import StoreConfig

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)  # importing Lightning set it to INFO
    callbacks = [instantiate(node) for node in cfg.get("callbacks", {}).values() if node is not None]
    callbacks.append(StoreConfig(cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))))
    loggers = [instantiate(node) for node in cfg.get("logger", {}).values() if node is not None]
    accelerator = resolve_accelerator(cfg.trainer.accelerator)
    precision = resolve_precision(cfg.trainer.precision, accelerator)
    if precision == "16-mixed" and cfg.trainer.gradient_clip_val and cfg.optimizer.get("fused"):
        raise ConfigError(
            "a fused optimizer cannot clip the scaled gradients of trainer.precision=16-mixed; use bf16-mixed, "
            "or optimizer.fused=false"
        )
    return instantiate(cfg.trainer, callbacks=callbacks, logger=loggers, accelerator=accelerator, precision=precision)
