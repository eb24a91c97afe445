"""Repeat a run from its folder: ``python -m nf_mnist.train rerun=RUN``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf

from nf_mnist.checkpoints.reading import read_checkpoint
from nf_mnist.errors import CheckpointError, ConfigError
from nf_mnist.hardware import describe
from nf_mnist.runs.record import read_record

MAY_BE_GIVEN = ("rerun", "output_dir")


class Rerun(NamedTuple):
    """The configuration to train, and the share of the peak rate at each batch of the run that is repeated."""

    cfg: DictConfig
    rate_factors: list[float]


def load_rerun(cfg: DictConfig, overrides: Sequence[str]) -> Rerun:
    """Return what repeats the run in the folder ``cfg.rerun``, in a folder of its own.

    A run with a budget of time is repeated with as many steps as it took and at the rates it had. Threads are as many
    as it had; on other hardware the last bits differ, which is said.

    Args:
        cfg: As composed, resolved.
        overrides: Of the command line: settings are the repeated run's, so none may be given.

    Raises:
        ConfigError: If the folder holds no run, or a setting is given besides.
        CheckpointError: If a budget of time cannot be replayed, for want of a checkpoint.
    """
    run = Path(cfg.rerun)
    others = [text for text in overrides if text.lstrip("+").partition("=")[0] not in MAY_BE_GIVEN]
    if others:
        raise ConfigError(f"rerun= repeats {run} with its own settings; leave out {' '.join(others)}")
    if not (run / "config.yaml").is_file():
        raise ConfigError(f"{run} holds no run to repeat: there is no {run / 'config.yaml'}")
    repeated = OmegaConf.load(run / "config.yaml")
    assert isinstance(repeated, DictConfig)
    _move(repeated, run.resolve(), cfg)
    _as_then(read_record(run))
    last = run / "checkpoints" / "last.ckpt"
    if last.is_file():
        checkpoint = read_checkpoint(last)
        if repeated.trainer.max_time is not None:
            _count_steps(repeated, checkpoint, last)
        return Rerun(repeated, torch.as_tensor(checkpoint.get("rate_factors", [])).tolist())
    if repeated.trainer.max_time is not None:
        raise CheckpointError(f"{run} had a budget of time, and its steps are counted in {last}, which is not there")
    return Rerun(repeated, [])


def _move(repeated: DictConfig, run: Path, cfg: DictConfig) -> None:
    """Let everything that the run wrote into its folder go to the new one; what resumed itself begins anew."""
    if repeated.ckpt is not None and Path(repeated.ckpt).resolve().is_relative_to(run):
        repeated.ckpt = None
    old, new = str(repeated.run_dir), str(cfg.run_dir)

    def moved(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: moved(value) for key, value in node.items()}
        if isinstance(node, list):
            return [moved(value) for value in node]
        return new + node[len(old) :] if isinstance(node, str) and node.startswith(old) else node

    for part in ("trainer", "callbacks", "logger"):
        if part in repeated:
            repeated[part] = moved(OmegaConf.to_container(repeated[part]))
    repeated.output_dir, repeated.run_dir = cfg.output_dir, new


def _count_steps(repeated: DictConfig, checkpoint: dict[str, Any], path: Path) -> None:
    """Turn a budget of time into the budget of steps that it came to."""
    if "rate_factors" not in checkpoint:
        raise CheckpointError(f"{path} does not hold the rates of its run, so a budget of time cannot be repeated")
    repeated.trainer.max_steps, repeated.trainer.max_time = checkpoint["global_step"], None
    for callback in repeated.get("callbacks", {}).values():
        if callback is not None and callback._target_ == "lightning.pytorch.callbacks.Timer":
            callback.duration = None


def _as_then(record: dict[str, Any]) -> None:
    """Take as many threads as the repeated run had, and say what differs in the machine or in the packages."""
    if "threads" in record:
        torch.set_num_threads(record["threads"])
    if "hardware" in record and record["hardware"] != describe():
        print(f"warning: it ran on {record['hardware']}, this is {describe()}; the last bits may differ")
