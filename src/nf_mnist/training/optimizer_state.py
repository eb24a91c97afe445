"""The state of an optimizer out of a checkpoint, checked before a training goes on from it.

PyTorch loads any state. A fused optimizer ends the process with a segmentation fault if a tensor of it has another
shape, and settings in it replace those of the configuration.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nf_mnist.checkpoints.old_names import current_parameter
from nf_mnist.errors import ConfigError, first_line
from nf_mnist.overrides import pasteable
from nf_mnist.training.likeness import WrongStateError, check_like, is_like, mapping, require
from nf_mnist.training.scheduled_module import ScheduledModule

# Of a group of parameters: the rate follows the schedule, and how a step is computed may change.
FREE_IN_A_GROUP = ("params", "param_names", "lr", "foreach", "fused", "capturable", "differentiable")


def check_optimizer_state(state: Any, module: ScheduledModule, path: str | Path) -> None:
    """Compare the state of an optimizer with that of a new one after a step; then let the new one load it.

    Args:
        state: The state, as the optimizer's ``state_dict`` returned it.
        module: The module whose optimizer is to load it.
        path: The file that it is from, for messages.

    Raises:
        WrongStateError: If a part of it is missing, or of another kind or shape.
        ConfigError: If it is the state of other parameters, or with other settings.
    """
    trial = _stepped_optimizer(module)
    expected = trial.state_dict()
    groups: Any = mapping(state, "optimizer_states").get("param_groups")
    require(isinstance(groups, list) and len(groups) == len(expected["param_groups"]), "param_groups of the optimizer")
    for group, own in zip(groups, expected["param_groups"], strict=True):
        _check_group(mapping(group, "param_groups of the optimizer"), own, module, path)
    for index, entry in mapping(state.get("state"), "state of the optimizer").items():
        require(index in expected["state"], f"state of the optimizer for parameter {index!r:.40}")
        check_like(entry, expected["state"][index], f"state of the optimizer for parameter {index}")
    try:
        trial.load_state_dict(copy.deepcopy(dict(state)))
        _step(trial)
    except Exception as error:  # an optimizer may fail in any way
        raise WrongStateError(f"state of the optimizer ({first_line(error):.80})") from None


def _stepped_optimizer(module: ScheduledModule) -> Optimizer:
    """Return an optimizer as the module's, of copies of its parameters, after a step."""
    copies = {name: value.detach().clone() for name, value in module.named_parameters() if value.requires_grad}
    optimizer = module.optimizer_of((name, nn.Parameter(value)) for name, value in copies.items())
    _step(optimizer)
    return optimizer


def _step(optimizer: Optimizer) -> None:
    for group in optimizer.param_groups:
        for value in group["params"]:
            value.grad = torch.zeros_like(value)
    optimizer.step(lambda: 0.0)


def _check_group(group: Mapping[str, Any], own: Mapping[str, Any], module: nn.Module, path: str | Path) -> None:
    """Check that a group has the same parameters and settings as this program's own."""
    require(group.get("params") == own["params"], "params of the optimizer")
    names, known = group.get("param_names", own["param_names"]), module.state_dict()
    require(isinstance(names, list) and all(isinstance(name, str) for name in names), "param_names of the optimizer")
    if [current_parameter(name, known) for name in names] != own["param_names"]:
        raise ConfigError(f"the run of {path} trains other parameters; resume it with the trainable= it began with")
    for key, value in own.items():
        if key in group and key not in FREE_IN_A_GROUP and _plain(group[key]) != _plain(value):
            setting = key.removeprefix("peak_")
            raise ConfigError(
                f"optimizer.{setting} is {value}, but the optimizer of {path} has {group[key]!r:.40}; resume it "
                f"with the settings that it began with, or start afresh with {pasteable('init_from', path)}"
            )
    require("peak_lr" in group and is_like(group.get("lr"), 0.0), "lr of the optimizer")


def _plain(value: Any) -> Any:
    """Return a setting in a form that can be compared: a sequence as a list, a tensor as a text."""
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return repr(value) if isinstance(value, Tensor) else value
