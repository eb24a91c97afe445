"""Train a flow: ``python -m nf_mnist.train model=resflow trainer.devices=1``."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from nf_mnist.app.building import build_datamodule, build_module, build_trainer
from nf_mnist.app.command import command
from nf_mnist.checkpoints.writing import write_json, write_text
from nf_mnist.errors import CheckpointError, ConfigError, NFMnistError
from nf_mnist.runs.record import lock_folder, recorded, update_record

if TYPE_CHECKING:
    import lightning as L
    from torch import Tensor

    from nf_mnist.flows import Flow
    from nf_mnist.training.datamodule import ImageDataModule
    from nf_mnist.training.module import FlowModule


@command("train")
def main(cfg: DictConfig) -> float | NFMnistError:
    """Train one run, or give the job of a sweep a process of its own; return the least validation loss in nats."""
    overrides = list(HydraConfig.get().overrides.task)
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        from nf_mnist.runs.sweep import run_job

        return run_job(cfg, overrides)
    rate_factors: list[float] = []
    if cfg.rerun is not None:
        from nf_mnist.runs.rerun import load_rerun

        cfg, rate_factors = load_rerun(cfg, overrides)
    return train(cfg, overrides, rate_factors)


def train(cfg: DictConfig, overrides: Sequence[str], rate_factors: list[float]) -> float:
    """Train, choose the best checkpoint on validation images, measure it; return its validation loss in nats.

    Args:
        cfg: The configuration, resolved.
        overrides: Of the command line, for the record of the run.
        rate_factors: Shares of the peak rate to replay; empty: the schedule decides.
    """
    import torch

    from nf_mnist.app.settings import check_duration, check_ranges, check_split
    from nf_mnist.hardware import describe, keep_freed_memory, resolve_accelerator

    check_ranges(cfg)
    check_duration(cfg.trainer.max_time)
    if cfg.evaluation is not None:
        check_split(cfg.evaluation.split)
    resolve_accelerator(cfg.trainer.accelerator)
    run_dir = Path(cfg.run_dir)
    _check_run_dir(run_dir, cfg)
    keep_freed_memory()
    datamodule = build_datamodule(cfg)
    datamodule.setup()
    module = build_module(cfg)
    module.replayed = rate_factors
    _check_labels(module.flow, datamodule.train.labels)
    module.flow.bijector.fit(datamodule.train.levels)
    _load_initial_weights(module, cfg)
    trainer = build_trainer(cfg)
    with contextlib.ExitStack() as stack:
        if trainer.is_global_zero:  # of several processes one keeps the books
            stack.enter_context(lock_folder(run_dir, "run"))
            about = {"name": cfg.name, "seed": cfg.seed, "hardware": describe(), "threads": torch.get_num_threads()}
            stack.enter_context(recorded(run_dir, overrides, **about))
            write_text(run_dir / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
            _announce(cfg, module, trainer)
        return _fit_and_measure(cfg, trainer, module, datamodule)


def _check_labels(flow: "Flow", labels: "Tensor") -> None:
    """Refuse labels that are none of the flow's classes, or that are all the same, as those of a file without any."""
    flow.check_labels(labels)
    if flow.n_classes > 1 and len(labels.unique()) == 1:
        raise ConfigError(
            f"model.flow.n_classes={flow.n_classes}, but every training image has the label {labels[0]}; give the "
            "file of images an array 'labels', or leave n_classes at 0"
        )


def _announce(cfg: DictConfig, module: "FlowModule", trainer: "L.Trainer") -> None:
    from nf_mnist.hardware import describe
    from nf_mnist.metrics import count_parameters

    size = count_parameters(module)
    print(f"{cfg.name}: {size:,} parameters on {describe()}, {trainer.precision}; results in {cfg.run_dir}")
    if cfg.data.dequantizer == "none":
        print(
            "warning: undithered levels have no bound on their likelihood; use data.dequantizer=uniform to measure it"
        )


def _fit_and_measure(
    cfg: DictConfig, trainer: "L.Trainer", module: "FlowModule", datamodule: "ImageDataModule"
) -> float:
    import torch

    from nf_mnist.metrics import bits_per_dim
    from nf_mnist.training.fit import fit, log_metrics, training_seconds
    from nf_mnist.training.signals import stop_on_signals

    run_dir = Path(cfg.run_dir)
    with stop_on_signals(trainer, run_dir / "checkpoints" / "last.ckpt"):
        best, loss = fit(trainer, module, datamodule, run_dir, cfg.ckpt)
    if not trainer.is_global_zero:
        return loss
    metrics = {"val_loss": loss}
    if module.has_bits:
        metrics["val_bpd"] = bits_per_dim(torch.tensor(-loss, dtype=torch.float64), 0.0, module.flow.dims).item()
    update_record(run_dir, **metrics)
    log_metrics(trainer, {f"best/{key}": value for key, value in metrics.items()})
    if cfg.evaluation is not None:
        _report(cfg, best, training_seconds(trainer))
    return loss


def _check_run_dir(run_dir: Path, cfg: DictConfig) -> None:
    """Refuse a folder that holds another run, unless this run resumes it; ``ckpt=auto`` resumes what there is."""
    checkpoints = run_dir / "checkpoints"
    last = checkpoints / "last.ckpt"
    if cfg.ckpt == "auto":
        cfg.ckpt = str(last) if last.exists() else None
        return
    if checkpoints.exists() and not (cfg.ckpt is not None and _is_in(checkpoints, cfg.ckpt)):
        raise ConfigError(f"{run_dir} holds a run already; choose another output_dir, or resume it with ckpt={last}")


def _is_in(folder: Path, ckpt: str) -> bool:
    return Path(ckpt).resolve().parent == folder.resolve()


def _load_initial_weights(module: "FlowModule", cfg: DictConfig) -> None:
    """Load the weights of ``init_from``, or check that ``ckpt`` can be resumed by this module, here and as set."""
    from nf_mnist.checkpoints.reading import DEQUANTIZER_PREFIX, load_weights, read_checkpoint

    ckpt, init_from = cfg.ckpt, cfg.init_from
    if ckpt is not None and init_from is not None:
        raise ConfigError("ckpt= resumes a run and init_from= starts a fresh one from weights; give one of them")
    path = ckpt or init_from
    if path is None:
        return
    checkpoint = read_checkpoint(path)
    load_weights(module.flow, checkpoint, path)
    load_weights(module.dequantizer, checkpoint, path, DEQUANTIZER_PREFIX)
    if ckpt is not None:
        _check_resumable(checkpoint, cfg)


def _check_resumable(checkpoint: dict[str, Any], cfg: DictConfig) -> None:
    """Check that a run can go on from ``ckpt`` exactly: with its optimizer, its settings and its best checkpoint."""
    from nf_mnist.checkpoints.reading import check_settings

    ckpt, checkpoints = cfg.ckpt, Path(cfg.run_dir) / "checkpoints"
    if not checkpoint.get("optimizer_states"):
        raise CheckpointError(f"{ckpt} holds weights only, so its run cannot be resumed; use init_from={ckpt}")
    check_settings(checkpoint, cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True)), ckpt)
    if not _is_in(checkpoints, ckpt):
        raise ConfigError(
            f"{ckpt} is not in {checkpoints}, and a run goes on in its own folder, where its best checkpoint is: give "
            f"that folder as output_dir=, or start afresh with init_from={ckpt}"
        )


def _report(cfg: DictConfig, best: Path, seconds: float) -> None:
    """Measure the best checkpoint as the evaluate command would, print the table, write the JSON."""
    from nf_mnist.app.evaluation import evaluate_checkpoint
    from nf_mnist.app.tables import print_metrics
    from nf_mnist.hardware import describe

    run_dir = best.parent.parent
    metrics, unit, *_ = evaluate_checkpoint(best, cfg.evaluation)
    rows = {
        "training time": f"{seconds / 60:.1f} min on {describe()}",
        "checkpoint": str(best),
        "samples and histograms": f"tensorboard --logdir {run_dir}",
    }
    print_metrics(metrics, unit, rows)
    about: dict[str, Any] = {"training_seconds": seconds, "hardware": describe(), "checkpoint": str(best)}
    write_json(run_dir / "metrics.json", {"unit": unit, **metrics, **about})


if __name__ == "__main__":
    main()
