"""What a checkpoint holds, read once: a trained flow and everything that is needed to use it."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from omegaconf import DictConfig, OmegaConf
from torch import nn

from nf_mnist.app.building import build_dequantizer, build_flow
from nf_mnist.app.settings import check_ranges
from nf_mnist.checkpoints.reading import (
    CLASSIFIER_PREFIX,
    DEQUANTIZER_PREFIX,
    FLOW_PREFIX,
    load_weights,
    read_checkpoint,
)
from nf_mnist.checkpoints.records import training_record
from nf_mnist.checkpoints.targets import check_targets, without_downloads
from nf_mnist.data import Dequantizer
from nf_mnist.errors import CheckpointError, ConfigError, NFMnistError
from nf_mnist.flows import Flow
from nf_mnist.nets import Classifier

T = TypeVar("T")


class Trained(NamedTuple):
    """A trained flow and what belongs to it.

    Attributes:
        flow: The flow, in evaluation mode on the CPU.
        dequantizer: The dequantizer that it was trained with, in evaluation mode on the CPU.
        cfg: The configuration of its training run, resolved.
        record: What the run cost; see :func:`~nf_mnist.checkpoints.records.training_record`.
    """

    flow: Flow
    dequantizer: Dequantizer
    cfg: DictConfig
    record: dict[str, Any]


def load_trained(path: str | Path, trust: Iterable[str] = (), data: DictConfig | None = None) -> Trained:
    """Rebuild a trained flow and its dequantizer from a checkpoint; the file is read once.

    Loading an untrusted checkpoint cannot run code: its configuration may only name flows and data of nf_mnist.

    Args:
        path: A file, or ``pretrained:NAME`` for released weights.
        trust: Further packages whose targets the checkpoint may name.
        data: The ``data`` node to build the dequantizer for; None for the data that the flow was trained on.

    Raises:
        CheckpointError: If the file is refused; see :func:`~nf_mnist.checkpoints.reading.read_checkpoint`.
        ConfigError: If the given ``data`` asks for a dequantizer that the flow cannot be used with.
    """
    return trained_from(read_checkpoint(path), path, trust, data)


def trained_from(
    checkpoint: Mapping[str, Any], path: str | Path, trust: Iterable[str] = (), data: DictConfig | None = None
) -> Trained:
    """Do what :func:`load_trained` does, from a checkpoint that has been read; ``path`` is for messages."""
    check_targets(checkpoint["config"], tuple(trust), path)
    cfg = _rebuilt(path, "flow", lambda: _for_use(checkpoint["config"]))
    flow = _rebuilt(path, "flow", lambda: build_flow(cfg.model))
    _check_recorded(cfg, path)
    if data is None:
        dequantizer = _rebuilt(path, "dequantizer", lambda: build_dequantizer(cfg.data, cfg.model))
    else:
        dequantizer = build_dequantizer(data, cfg.model)
    load_weights(flow, checkpoint, path, FLOW_PREFIX)
    load_weights(dequantizer, checkpoint, path, DEQUANTIZER_PREFIX)
    record = _rebuilt(path, "training record", lambda: training_record(checkpoint))
    return Trained(flow.eval(), dequantizer.eval(), cfg, record)


def load_classifier(path: str | Path = "pretrained:classifier") -> Classifier:
    """Return the classifier of a checkpoint, by default the released one, in evaluation mode on the CPU.

    Raises:
        CheckpointError: If the file is refused, or holds no classifier.
    """
    return classifier_from(read_checkpoint(path), path)


def classifier_from(checkpoint: Mapping[str, Any], path: str | Path) -> Classifier:
    """Do what :func:`load_classifier` does, from a checkpoint that has been read; ``path`` is for messages."""
    try:
        classifier = Classifier(int(checkpoint["config"]["classifier"]["channels"]))
    except Exception as error:  # a foreign configuration can fail in any way
        raise CheckpointError(f"{path} holds no classifier") from error
    load_weights(classifier, checkpoint, path, CLASSIFIER_PREFIX)
    return classifier.eval()


def modules_from(checkpoint: Mapping[str, Any], path: str | Path, trust: Iterable[str] = ()) -> list[nn.Module]:
    """Return the modules whose weights a checkpoint holds: the classifier, or a flow and its dequantizer."""
    if "classifier" in checkpoint["config"]:
        return [classifier_from(checkpoint, path)]
    trained = trained_from(checkpoint, path, trust)
    return [trained.flow, trained.dequantizer]


def _for_use(config: Mapping[str, Any]) -> DictConfig:
    """Return a configuration whose flow is not compiled, which pays in training only, and whose data are here."""
    cfg = OmegaConf.create({**config, "data": without_downloads(config.get("data"))})
    cfg.model.compile = False
    return cfg


def _check_recorded(cfg: DictConfig, path: str | Path) -> None:
    """Check the kinds and ranges of the settings of a checkpoint that commands use.

    Raises:
        CheckpointError: Naming the first setting that is missing, of the wrong kind or out of range.
    """
    for key in ("data", "evaluation"):
        value = cfg.get(key)
        if not isinstance(value, DictConfig) and (value is not None or key == "data"):
            raise CheckpointError(f"{path} has a configuration whose {key} is {value!r:.40}")
    try:
        check_ranges(OmegaConf.create({key: cfg[key] for key in ("data", "evaluation") if cfg.get(key) is not None}))
    except ConfigError as error:
        raise CheckpointError(f"{path} has a damaged configuration: {error}") from None


def _rebuilt(path: str | Path, what: str, build: Callable[[], T]) -> T:
    """Return what ``build`` makes of the configuration of a checkpoint.

    Raises:
        CheckpointError: If that fails.
    """
    try:
        return build()
    except Exception as error:  # a foreign configuration can fail in any way
        reason = (str(error).splitlines() or [repr(error)])[0]
        cause = None if isinstance(error, NFMnistError) else error  # a command would print the cause, without the file
        raise CheckpointError(f"{path} has a configuration from which no {what} can be built: {reason}") from cause
