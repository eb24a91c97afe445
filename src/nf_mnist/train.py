"""Train a flow: ``python -m nf_mnist.train model=resflow trainer.devices=1``."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from nf_mnist.cli import command, write_json, write_text
from nf_mnist.config import build_datamodule, build_module, build_trainer
from nf_mnist.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from nf_mnist.training.module import FlowModule


@command("train")
def main(cfg: DictConfig) -> float:
    """Train, choose the best checkpoint on validation images, measure it; return its validation loss in nats."""
    from nf_mnist.checks import check_accelerator, check_ranges, check_split
    from nf_mnist.training.fit import fit, fit_marginals
    from nf_mnist.training.hardware import describe, keep_freed_memory

    check_ranges(cfg)
    if cfg.evaluation is not None:
        check_split(cfg.evaluation.split)
    check_accelerator(cfg.trainer.accelerator)
    run_dir = Path(cfg.run_dir)
    _check_run_dir(run_dir, cfg.ckpt)
    keep_freed_memory()
    datamodule = build_datamodule(cfg)
    datamodule.setup()
    module = build_module(cfg)
    fit_marginals(module.flow, datamodule.train.levels)
    _load_initial_weights(module, cfg.ckpt, cfg.init_from)
    trainer = build_trainer(cfg)
    write_text(run_dir / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))

    print(f"{cfg.name}: {_count(module):,} parameters on {describe()}, {trainer.precision}; results in {run_dir}")
    if cfg.data.dequantizer == "none":
        print(
            "warning: undithered levels have no bound on their likelihood; use data.dequantizer=uniform to measure it"
        )
    begin = time.monotonic()
    best, best_loss = fit(trainer, module, datamodule, run_dir, cfg.ckpt)
    if cfg.evaluation is not None and trainer.is_global_zero:
        _report(cfg, best, time.monotonic() - begin)
    return best_loss


def _check_run_dir(run_dir: Path, ckpt: str | None) -> None:
    """Refuse a folder that holds another run, unless this run resumes it."""
    checkpoints = run_dir / "checkpoints"
    resumes_it = ckpt is not None and Path(ckpt).resolve().parent == checkpoints.resolve()
    if checkpoints.exists() and not resumes_it:
        raise ConfigError(
            f"{run_dir} holds a run already; choose another output_dir, or resume it with "
            f"ckpt={checkpoints / 'last.ckpt'}"
        )


def _load_initial_weights(module: "FlowModule", ckpt: str | None, init_from: str | None) -> None:
    """Load the weights of ``init_from``, or check that ``ckpt`` can be resumed by this module."""
    from nf_mnist.training.checkpoint import DEQUANTIZER_PREFIX, load_weights, read_checkpoint

    if ckpt is not None and init_from is not None:
        raise ConfigError("ckpt= resumes a run and init_from= starts a fresh one from weights; give one of them")
    path = ckpt or init_from
    if path is None:
        return
    checkpoint = read_checkpoint(path)
    load_weights(module.flow, checkpoint, path)
    load_weights(module.dequantizer, checkpoint, path, DEQUANTIZER_PREFIX)
    if ckpt is not None and not checkpoint.get("optimizer_states"):
        raise CheckpointError(f"{ckpt} holds weights only, so its run cannot be resumed; use init_from={ckpt}")


def _report(cfg: DictConfig, best: Path, seconds: float) -> None:
    """Measure the best checkpoint as the evaluate command would, print the table, write the JSON."""
    from nf_mnist.evaluate import evaluate_checkpoint
    from nf_mnist.report import print_figures
    from nf_mnist.training.hardware import describe

    run_dir = best.parent.parent
    figures, unit, *_ = evaluate_checkpoint(best, cfg.evaluation)
    rows = {
        "training time": f"{seconds / 60:.1f} min on {describe()}",
        "checkpoint": str(best),
        "samples and histograms": f"tensorboard --logdir {run_dir}",
    }
    print_figures(figures, unit, rows)
    about: dict[str, Any] = {"training_seconds": seconds, "hardware": describe(), "checkpoint": str(best)}
    write_json(run_dir / "figures.json", {"unit": unit, **figures, **about})


def _count(module: "FlowModule") -> int:
    return sum(parameter.numel() for parameter in module.parameters())


if __name__ == "__main__":
    main()
