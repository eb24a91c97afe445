"""Where a run begins: in an empty folder, from the weights of another run, or where it stopped."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from omegaconf import DictConfig, OmegaConf

from nf_mnist.checkpoints.reading import DEQUANTIZER_PREFIX, load_weights, read_checkpoint
from nf_mnist.checkpoints.settings import check_settings
from nf_mnist.errors import CheckpointError, ConfigError, RunError
from nf_mnist.overrides import pasteable
from nf_mnist.runs.record import RECORD_FILE, read_record
from nf_mnist.runs.report import REPORT_FILES

if TYPE_CHECKING:
    import lightning as L

    from nf_mnist.training.module import FlowModule

# What a run writes into its folder.
RUN_FILES = (
    *(RECORD_FILE, "config.yaml", "metrics.json", "uncommitted.diff", "checkpoints", "csv", "tensorboard"),
    *REPORT_FILES,
)


Version = tuple[int, int]  # of a file: another file of the same name has another one


def choose_checkpoint(cfg: DictConfig) -> Version | None:
    """Replace ``ckpt=auto`` by the last checkpoint of the run, or by None if there is none yet.

    Returns:
        The version of the checkpoint, for :func:`check_free`.

    Raises:
        ConfigError: If the folder holds another run, which this run does not resume.
    """
    run_dir = Path(cfg.run_dir)
    checkpoints = run_dir / "checkpoints"
    last = checkpoints / "last.ckpt"
    if cfg.ckpt == "auto":
        cfg.ckpt = str(last) if last.exists() else None
    elif checkpoints.exists() and not (cfg.ckpt is not None and _is_in(checkpoints, cfg.ckpt)):
        raise _taken(run_dir, last)
    return _version(cfg.ckpt)


def _version(ckpt: str | None) -> Version | None:
    """Return the version of a checkpoint, or None if there is no such file."""
    if ckpt is None or not Path(ckpt).is_file():
        return None
    about = Path(ckpt).stat()
    return about.st_ino, about.st_mtime_ns


def check_free(run_dir: Path, ckpt: str | None, version: Version | None = None) -> None:
    """Check that a run overwrites nothing; call it under the lock of the folder.

    Args:
        run_dir: The folder of the run.
        ckpt: The checkpoint that the run resumes from, or None.
        version: Its version before it was read.

    Raises:
        ConfigError: If the run begins anew and the folder holds a run, or files that no run has written.
        RunError: If another process has replaced the checkpoint since it was read.
    """
    if ckpt is not None:
        if _version(ckpt) != version:
            raise RunError(f"another process has gone on with the run in {run_dir} meanwhile; repeat the command")
        return
    if (last := run_dir / "checkpoints" / "last.ckpt").exists():
        raise _taken(run_dir, last)
    found = next((name for name in RUN_FILES if os.path.lexists(run_dir / name)), None)
    if found is not None and "overrides" not in read_record(run_dir):
        raise ConfigError(f"{run_dir / found} exists already, and no run has written it; choose another output_dir")


def load_initial_weights(module: "FlowModule", trainer: "L.Trainer", cfg: DictConfig) -> dict[str, Any] | None:
    """Load the weights of ``init_from`` or ``ckpt``; check that the run can resume from ``ckpt``.

    Returns:
        The checkpoint that the run resumes from, or None.

    Raises:
        ConfigError: If both are given, or ``ckpt`` belongs to a run in another folder or with other settings.
        CheckpointError: If the file is refused, holds another architecture, or ``ckpt`` holds weights only or the
            damaged state of something else.
    """
    from nf_mnist.training.states import check_states  # imports Lightning

    ckpt, init_from = cfg.ckpt, cfg.init_from
    if ckpt is not None and init_from is not None:
        raise ConfigError("ckpt= resumes a run and init_from= starts a fresh one from weights; give one of them")
    path = ckpt or init_from
    if path is None:
        return None
    checkpoint = read_checkpoint(path)
    load_weights(module.flow, checkpoint, path)
    load_weights(module.dequantizer, checkpoint, path, DEQUANTIZER_PREFIX)
    if ckpt is None:
        return None
    _check_resumable(checkpoint, cfg)
    check_states(checkpoint, trainer, module, ckpt)
    return checkpoint


def _check_resumable(checkpoint: Mapping[str, Any], cfg: DictConfig) -> None:
    """Check that ``ckpt`` holds an optimizer, has the settings and images of this run, and lies in its folder."""
    ckpt, checkpoints = cfg.ckpt, Path(cfg.run_dir) / "checkpoints"
    if not checkpoint.get("optimizer_states"):
        raise CheckpointError(
            f"{ckpt} holds weights only, so its run cannot be resumed; use {pasteable('init_from', ckpt)}"
        )
    check_settings(checkpoint, cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True)), ckpt)
    data = checkpoint["config"].get("data")
    if isinstance(data, Mapping) and data.get("sha256") not in (None, cfg.data.sha256):
        raise ConfigError(
            f"data.source gives other images than those that the run of {ckpt} began with; restore them, or start "
            f"afresh with {pasteable('init_from', ckpt)}"
        )
    if not _is_in(checkpoints, ckpt):
        raise ConfigError(
            f"{ckpt} is not in {checkpoints}, and a run goes on in its own folder, where its best checkpoint is: give "
            f"that folder as output_dir=, or start afresh with {pasteable('init_from', ckpt)}"
        )


def _taken(run_dir: Path, last: Path) -> ConfigError:
    resume = pasteable("ckpt", last)
    return ConfigError(f"{run_dir} holds a run already; choose another output_dir, or resume it with {resume}")


def _is_in(folder: Path, ckpt: str) -> bool:
    return Path(ckpt).resolve().parent == folder.resolve()
