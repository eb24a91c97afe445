"""Repeat a run from its folder: ``python -m nf_mnist.train rerun=RUN``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf

from nf_mnist.app.messages import printable
from nf_mnist.app.structure import check_structure
from nf_mnist.bfloat16 import fixed_gain
from nf_mnist.checkpoints.old_names import current_config
from nf_mnist.checkpoints.reading import read_checkpoint
from nf_mnist.cores import fixed_threads
from nf_mnist.errors import CheckpointError, ConfigError, first_line
from nf_mnist.hardware import describe, resolve_accelerator
from nf_mnist.runs.record import read_record
from nf_mnist.runs.training_run import run_training

ALLOWED_WITH_RERUN = ("rerun", "output_dir")
SETTINGS_OF_RUNS = {
    "name",
    "seed",
    "data",
    "model",
    "optimizer",
    "scheduler",
    "trainer",
    "output_dir",
    "run_dir",
    "ckpt",
}


class Rerun(NamedTuple):
    """The configuration to train with, and the share of the peak rate at each batch of the run to repeat."""

    cfg: DictConfig
    rate_factors: list[float]


def repeat_run(cfg: DictConfig, overrides: Sequence[str]) -> float:
    """Repeat the run in the folder ``cfg.rerun``, in a folder of its own, with its threads and its precision.

    On other hardware the last bits of the weights differ; a warning says so.

    Args:
        cfg: The resolved configuration of the command.
        overrides: The overrides on the command line.

    Returns:
        The least validation loss in nats per image.

    Raises:
        ConfigError: As :func:`load_rerun`.
        CheckpointError: As :func:`load_rerun`.
    """
    repeated, rate_factors = load_rerun(cfg, overrides)
    record = read_record(Path(cfg.rerun))
    with fixed_threads(record.get("threads")), fixed_gain(record.get("bfloat16_is_faster")):
        _warn_of_other_hardware(record, repeated.trainer.accelerator)
        _warn_of_fewer_threads(record)
        return run_training(repeated, overrides, rate_factors)


def load_rerun(cfg: DictConfig, overrides: Sequence[str]) -> Rerun:
    """Return what repeats the run in the folder ``cfg.rerun``.

    A run with a budget of time is repeated with as many steps as it took, at the learning rates it had.

    Args:
        cfg: The resolved configuration of the command.
        overrides: The overrides on the command line. They may set only the folders: all else is as in the run.

    Raises:
        ConfigError: If the folder holds no run, or the overrides change a setting.
        CheckpointError: If the run had a budget of time, and no checkpoint says how many steps it took.
    """
    run = Path(cfg.rerun)
    others = [text for text in overrides if text.lstrip("+").partition("=")[0] not in ALLOWED_WITH_RERUN]
    if others:
        raise ConfigError(f"rerun= repeats {run} with its own settings; leave out {' '.join(others)}")
    if not (run / "config.yaml").is_file():
        raise ConfigError(f"{run} holds no run to repeat: there is no {run / 'config.yaml'}")
    repeated = _read_config(run / "config.yaml")
    _move(repeated, run.resolve(), cfg)
    last = run / "checkpoints" / "last.ckpt"
    if last.is_file():
        checkpoint = read_checkpoint(last)
        if repeated.trainer.max_time is not None:
            _count_steps(repeated, checkpoint, last)
        return Rerun(repeated, torch.as_tensor(checkpoint.get("rate_factors", [])).tolist())
    if repeated.trainer.max_time is not None:
        raise CheckpointError(f"{run} had a budget of time, and its steps are counted in {last}, which is not there")
    return Rerun(repeated, [])


def _read_config(path: Path) -> DictConfig:
    """Return the configuration that a run has written.

    Raises:
        ConfigError: If the file cannot be read, or lacks a part or holds something else in its place.
    """
    try:
        config = OmegaConf.create(current_config(OmegaConf.to_container(OmegaConf.load(path), resolve=True)))
        if not isinstance(config, DictConfig) or SETTINGS_OF_RUNS - config.keys():
            raise ConfigError(f"it lacks {', '.join(sorted(SETTINGS_OF_RUNS - set(config)))}")
        check_structure(config, "train")
    except Exception as error:  # a damaged file can raise anything in the parser
        raise ConfigError(f"{path} is damaged: {first_line(error)}") from None  # a command would print the cause alone
    return config


def _move(repeated: DictConfig, run: Path, cfg: DictConfig) -> None:
    """Redirect everything that the run wrote into its folder to the new one; a run that resumed itself starts anew."""
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


def _count_steps(repeated: DictConfig, checkpoint: Mapping[str, Any], path: Path) -> None:
    """Replace a budget of time by the number of steps that the run took in it."""
    if "rate_factors" not in checkpoint:
        raise CheckpointError(f"{path} does not hold the rates of its run, so a budget of time cannot be repeated")
    repeated.trainer.max_steps, repeated.trainer.max_time = checkpoint["global_step"], None
    for callback in repeated.get("callbacks", {}).values():
        if callback is not None and callback._target_ == "lightning.pytorch.callbacks.Timer":
            callback.duration = None


def _warn_of_other_hardware(record: Mapping[str, Any], accelerator: str) -> None:
    hardware = describe("cpu" if resolve_accelerator(accelerator) == "cpu" else "cuda")
    if "hardware" in record and record["hardware"] != hardware:
        print(f"warning: it ran on {printable(str(record['hardware']))}, this is {hardware}; the last bits may differ")


def _warn_of_fewer_threads(record: Mapping[str, Any]) -> None:
    threads, fewest = record.get("threads"), record.get("fewest_threads")
    if fewest is not None and fewest != threads:
        print(
            f"warning: beside other processes it had {fewest} to {threads} threads, this has {threads}; the last bits "
            "may differ"
        )
