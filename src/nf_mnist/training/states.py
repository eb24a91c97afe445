"""What a training goes on from besides its weights, checked before it begins.

Lightning loads these states as they are. A checkpoint may be damaged or a stranger's, and a state of another kind would
fail later, in any way.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, Timer, WeightAveraging
from torch import Tensor

from nf_mnist.checkpoints.old_names import current_parameter
from nf_mnist.checkpoints.reading import check_weights, is_dense
from nf_mnist.errors import CheckpointError
from nf_mnist.overrides import pasteable
from nf_mnist.training.likeness import WrongStateError, check_like, mapping, require
from nf_mnist.training.lookup import callbacks_of
from nf_mnist.training.optimizer_state import check_optimizer_state
from nf_mnist.training.scheduled_module import ScheduledModule

VERSION = r"2\.\d+(\.\d+)*((\.?(post|dev)|a|b|rc)\d+)*"  # of Lightning, as PEP 440 writes it
POSITION = {"epoch": 0, "n_taken": 0}  # of the loader


def check_states(checkpoint: Mapping[str, Any], trainer: L.Trainer, module: ScheduledModule, path: str | Path) -> None:
    """Check all states in a checkpoint: positions, callbacks, loss scale, weights beside an average, optimizer.

    Args:
        checkpoint: The checkpoint, as read.
        trainer: The trainer that is to go on from it.
        module: The module that it is to train.
        path: The file of the checkpoint, for messages.

    Raises:
        CheckpointError: If a state is missing, or of another kind or shape than that of this training.
        ConfigError: If the optimizer had other parameters or other settings.
    """
    try:
        _check_positions(checkpoint, trainer)
        _check_callbacks(checkpoint, trainer)
        precision = trainer.precision_plugin
        check_like(
            checkpoint.get(type(precision).__qualname__, precision.state_dict()), precision.state_dict(), "scale"
        )
        _check_all_weights(checkpoint, trainer, module, path)
        optimizers = checkpoint["optimizer_states"]
        require(isinstance(optimizers, list) and len(optimizers) == 1, "optimizer_states")
        check_optimizer_state(optimizers[0], module, path)
    except WrongStateError as error:
        raise CheckpointError(
            f"{path} is damaged or foreign: {error} cannot be the state of this training; resume from another "
            f"checkpoint, or start afresh with {pasteable('init_from', path)}"
        ) from None


def _check_positions(checkpoint: Mapping[str, Any], trainer: L.Trainer) -> None:
    """Check the positions of the loops and of the loader, and the learning rates so far."""
    check_like(checkpoint, {"epoch": 0, "global_step": 0, "loops": {}}, "checkpoint")
    version = checkpoint.get("pytorch-lightning_version")
    require(isinstance(version, str) and bool(re.fullmatch(VERSION, version)), "pytorch-lightning_version")
    require(isinstance(checkpoint.get("lr_schedulers"), list), "lr_schedulers")
    rates = checkpoint.get("rate_factors", torch.zeros(0))
    require(isinstance(rates, Tensor) and is_dense(rates) and rates.ndim == 1, "rate_factors")
    check_like(checkpoint["loops"], {"fit_loop": trainer.fit_loop.state_dict()}, "loops")
    loaders = checkpoint["loops"]["fit_loop"]["state_dict"].get("combined_loader", [])
    require(isinstance(loaders, list) and len(loaders) <= 1, "combined_loader")
    for state in loaders:
        check_like(state, POSITION, "combined_loader")


def _check_callbacks(checkpoint: Mapping[str, Any], trainer: L.Trainer) -> None:
    """Check the state of each callback that has one."""
    states = mapping(checkpoint.get("callbacks"), "callbacks")
    for callback in callbacks_of(trainer, L.Callback):
        if (state := states.get(callback.state_key)) is None:
            continue
        name = f"callbacks.{type(callback).__name__}"
        if isinstance(callback, Timer):
            check_like(state, {"time_elapsed": {"train": 0.0}}, name)
            require(state["time_elapsed"]["train"] >= 0, f"{name}.time_elapsed.train")
            continue
        check_like(state, callback.state_dict(), name)
        if isinstance(callback, ModelCheckpoint):
            _check_scores(state, name)


def _check_scores(state: Mapping[str, Any], name: str) -> None:
    """Check the scores of a ModelCheckpoint, which has none before the first validation."""
    named = {key: state[key] for key in ("best_model_score", "kth_value") if state[key] is not None}
    for key, value in {**named, **state["best_k_models"]}.items():
        check_like(value, torch.tensor(0.0), f"{name}.{key}")
    require(all(isinstance(key, str) for key in state["best_k_models"]), f"{name}.best_k_models")


def _check_all_weights(
    checkpoint: Mapping[str, Any], trainer: L.Trainer, module: ScheduledModule, path: str | Path
) -> None:
    """Check all weights that Lightning loads: also those being trained, if the others are their average."""
    own, names = module.state_dict(), ["state_dict"]
    if callbacks_of(trainer, WeightAveraging):
        check_like(checkpoint, {"averaging_state": {"n_averaged": torch.tensor(0)}}, "checkpoint")
        require(len(checkpoint["averaging_state"]) == 1, "averaging_state")
        names.append("current_model_state")
    for key in names:
        state = mapping(checkpoint.get(key), key)
        require(all(isinstance(name, str) for name in state), key)
        require(all(isinstance(value, Tensor) for value in state.values()), key)
        check_weights(own, {current_parameter(name, own): value for name, value in state.items()}, path)
