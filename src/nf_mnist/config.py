"""The one place that instantiates: from a composed configuration to built objects."""

import importlib
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from hydra.errors import InstantiationException
from hydra.utils import get_object
from hydra.utils import instantiate as hydra_instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf

from nf_mnist.errors import CheckpointError, ConfigError, NFMnistError
from nf_mnist.training.checkpoint import load_weights, read_checkpoint

if TYPE_CHECKING:
    import lightning as L

    from nf_mnist.flows import Flow
    from nf_mnist.nets import Classifier
    from nf_mnist.training.classifier import ClassifierModule
    from nf_mnist.training.datamodule import ImageDataModule
    from nf_mnist.training.module import FlowModule

PACKAGE = Path(__file__).parent
BUILDERS = ("nf_mnist.flows", "nf_mnist.data")  # what a checkpoint may name


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
        target = node.get("_target_", "a part of the configuration")
        raise ConfigError(f"cannot build {target}: {(str(cause).splitlines() or [repr(cause)])[0]}") from error


def build_flow(model: DictConfig) -> "Flow":
    """Build the flow of a ``model`` node, laid out in memory and compiled as it asks."""
    from nf_mnist.bijectors import AffineCoupling, DiscretizedMixture, GroupedMixture

    flow = instantiate(model.flow)
    if model.channels_last:
        flow = flow.to(memory_format=torch.channels_last)
    if model.compile:
        for module in flow.modules():
            if isinstance(module, AffineCoupling):
                module.scale_net.compile()
                module.shift_net.compile()
            elif isinstance(module, DiscretizedMixture | GroupedMixture):
                module.net.compile()
    return flow


def build_datamodule(cfg: DictConfig) -> "ImageDataModule":
    """Build the data module of a configuration."""
    from nf_mnist.training.datamodule import ImageDataModule

    return ImageDataModule(
        source=lambda: instantiate(cfg.data.source),
        event_shape=tuple(cfg.data.event_shape),
        n_validation=cfg.data.n_validation,
        split_seed=cfg.data.split_seed,
        batch_size=cfg.data.batch_size,
        eval_batch_size=cfg.data.eval_batch_size,
        seed=cfg.seed,
    )


def build_module(cfg: DictConfig) -> "FlowModule":
    """Build the Lightning module of a configuration; its weights depend on the seed alone."""
    from nf_mnist.data import DEQUANTIZERS
    from nf_mnist.training.module import FlowModule

    if cfg.data.dequantizer not in DEQUANTIZERS:
        raise ConfigError(f"unknown data.dequantizer {cfg.data.dequantizer!r}; choose one of {', '.join(DEQUANTIZERS)}")
    torch.manual_seed(cfg.seed)
    module = FlowModule(
        flow=build_flow(cfg.model),
        dequantizer=DEQUANTIZERS[cfg.data.dequantizer](),
        optimizer=instantiate(cfg.optimizer),
        schedule=instantiate(cfg.scheduler),
        seed=cfg.seed,
    )
    try:
        module.configure_optimizers()
    except (TypeError, ValueError) as error:
        raise ConfigError(f"cannot build {cfg.optimizer._target_}: {error}") from error
    return module


def build_classifier_module(cfg: DictConfig) -> "ClassifierModule":
    """Build the Lightning module of the classifier; its weights depend on the seed alone."""
    from nf_mnist.training.classifier import ClassifierModule

    torch.manual_seed(cfg.seed)
    classifier = instantiate(cfg.classifier).to(memory_format=torch.channels_last)
    return ClassifierModule(
        classifier, cfg.distortion, instantiate(cfg.optimizer), instantiate(cfg.scheduler), cfg.seed
    )


def build_trainer(cfg: DictConfig) -> "L.Trainer":
    """Build the Lightning trainer with its callbacks and loggers; an entry that is null is left out."""
    from nf_mnist.training.callbacks import StoreConfig
    from nf_mnist.training.hardware import resolve_precision

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)  # importing Lightning set it to INFO
    callbacks = [instantiate(node) for node in cfg.get("callbacks", {}).values() if node is not None]
    callbacks.append(StoreConfig(cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))))
    loggers = [instantiate(node) for node in cfg.get("logger", {}).values() if node is not None]
    precision = resolve_precision(cfg.trainer.precision, cfg.trainer.accelerator)
    return instantiate(cfg.trainer, callbacks=callbacks, logger=loggers, precision=precision)


def load_flow(path: str | Path, trust: Iterable[str] = ()) -> tuple["Flow", DictConfig]:
    """Rebuild a trained flow from its checkpoint, in evaluation mode on the CPU.

    A configuration that comes out of a file may name targets of nf_mnist alone, since instantiation calls them.

    Args:
        path: The checkpoint.
        trust: Further packages whose targets the checkpoint may name.

    Returns:
        The flow, and the configuration of its training run.

    Raises:
        CheckpointError: If the file is refused; see :func:`~nf_mnist.training.checkpoint.read_checkpoint`.
    """
    checkpoint = read_checkpoint(path)
    check_targets(checkpoint["config"], tuple(trust), path)
    try:
        cfg = OmegaConf.create(checkpoint["config"])
        flow = build_flow(cfg.model)
    except Exception as error:  # a foreign configuration can fail in any way
        reason = (str(error).splitlines() or [repr(error)])[0]
        raise CheckpointError(f"{path} has a configuration from which no flow can be built: {reason}") from error
    load_weights(flow, checkpoint, path)
    return flow.eval(), cfg


def load_classifier(path: str | Path = "pretrained:classifier") -> "Classifier":
    """Return the classifier of a checkpoint, by default the released one, in evaluation mode on the CPU.

    Raises:
        CheckpointError: If the file is refused, or holds no classifier.
    """
    from nf_mnist.nets import Classifier

    checkpoint = read_checkpoint(path)
    try:
        classifier = Classifier(int(checkpoint["config"]["classifier"]["channels"]))
    except Exception as error:
        raise CheckpointError(f"{path} holds no classifier") from error
    load_weights(classifier, checkpoint, path, "classifier.")
    return classifier.eval()


def check_targets(node: Any, trust: tuple[str, ...], path: str | Path) -> None:
    """Refuse a configuration out of a file that names code outside nf_mnist or outside trusted packages.

    Only ``model`` and ``data`` are ever built from a file, so only they are checked. Of nf_mnist, builders of flows and
    readers of data are permitted, not whatever can be reached through its modules: a command or a function that
    writes files is ours too.

    Raises:
        CheckpointError: Naming the first target that is refused; nothing has been called by then.
    """
    for part in ("model", "data"):
        for text in _strings(node.get(part)):
            if "${" in text:
                raise CheckpointError(f"{path} is refused: its configuration holds the interpolation {text!r}")
        for target in _targets(node.get(part)):
            if not _is_permitted(target, trust):
                raise CheckpointError(
                    f"{path} is refused: its configuration names {target!r}, which is no flow or data of nf_mnist's "
                    f"and could run code; if you know it, pass trust=[{str(target).partition('.')[0]}]"
                )


def _is_permitted(target: Any, trust: tuple[str, ...]) -> bool:
    """Return whether a target is a public name of the builders' packages, or defined in a trusted package."""
    if not isinstance(target, str):
        return False
    package, _, name = target.rpartition(".")
    if package in BUILDERS:
        return name in importlib.import_module(package).__all__
    if target.partition(".")[0] not in trust:
        return False
    try:
        found = get_object(target)
    except Exception:
        return False
    return str(getattr(found, "__module__", None)).partition(".")[0] in trust


def _targets(node: Any) -> Iterable[Any]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        for value in node.values():
            yield from _targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from _targets(value)


def _strings(node: Any) -> Iterable[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield str(key)
            yield from _strings(value)
    elif isinstance(node, list):
        for value in node:
            yield from _strings(value)
    elif isinstance(node, str):
        yield node
