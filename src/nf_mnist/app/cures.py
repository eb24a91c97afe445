"""Cures as commands: overrides of ``python -m nf_mnist.train`` that the model of a checkpoint has."""

import shlex
from collections.abc import Iterable
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nf_mnist.app.composing import config_dir
from nf_mnist.diagnostics import Result


def cure_commands(results: Iterable[Result], cfg: DictConfig | None) -> dict[str, str]:
    """Return the commands that do what remedies say, by the names of the checks; checks without one are left out.

    Args:
        results: Results of checks.
        cfg: The configuration of the training run; None for a user's own flow, which no command of ours trains.
    """
    commands = {result.check: cure_command(result.overrides, cfg) for result in results if result.cause}
    return {check: command for check, command in commands.items() if command}


def cure_command(overrides: Iterable[str], cfg: DictConfig | None) -> str:
    """Return the command that trains the model of a checkpoint with overrides; empty if none of them fits it.

    Args:
        overrides: Overrides that a check offers.
        cfg: The configuration of the training run; None for a flow that has none.
    """
    model = None if cfg is None else model_name(cfg)
    if cfg is None or model is None:
        return ""
    chosen = fitting(overrides, cfg)
    return shlex.join(["python", "-m", "nf_mnist.train", f"model={model}", *chosen]) if chosen else ""


def fitting(overrides: Iterable[str], cfg: DictConfig) -> list[str]:
    """Return the overrides of settings that a configuration has, less those that change nothing or are needless."""
    return [override for override in overrides if _fits(override, cfg) and not _is_needless(override, cfg)]


def model_name(cfg: DictConfig) -> str | None:
    """Return the name of the model of a configuration; None if no file in ``conf/model`` builds it."""
    target = OmegaConf.select(cfg, "model.flow._target_")
    files = sorted(Path(config_dir(), "model").glob("*.yaml"))
    names = [path.stem for path in files if OmegaConf.select(OmegaConf.load(path), "model.flow._target_") == target]
    builder = str(target).removeprefix("nf_mnist.flows.")  # some files take their target from a common one
    names += [path.stem for path in files if path.stem == builder]
    return cfg.get("name") if cfg.get("name") in names else next(iter(names), None)


def _is_needless(override: str, cfg: DictConfig) -> bool:
    """Return whether the model does already, in another way, what an override is for, or needs something else first."""
    preprocess = OmegaConf.select(cfg, "model.preprocess")
    if override == "model.preprocess=logit":
        return preprocess != "none"
    if override == "model.flow.norm.policy=running":
        return preprocess == "none" or OmegaConf.select(cfg, "callbacks.statistics") is not None
    return False


def _fits(override: str, cfg: DictConfig) -> bool:
    key, _, value = override.partition("=")
    try:
        present = OmegaConf.select(cfg, key, throw_on_missing=False)
    except OmegaConfBaseException:
        return False
    parent = OmegaConf.select(cfg, key.rpartition(".")[0]) if "." in key else cfg
    return isinstance(parent, DictConfig) and key.rpartition(".")[2] in parent and str(present).lower() != value
