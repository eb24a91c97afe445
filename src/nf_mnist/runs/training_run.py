"""One training run, from the checks of its settings to the metrics of its best checkpoint."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig

from nf_mnist.app.batch_size import resolve_batch_size
from nf_mnist.app.building import build_datamodule, build_module, build_trainer, record_images
from nf_mnist.app.evaluation import evaluate_task, load_evaluation_task
from nf_mnist.app.own_builders import own_model
from nf_mnist.app.settings import check_split, check_training
from nf_mnist.app.tables import metric_rows, print_metrics
from nf_mnist.bfloat16 import fixed_gain
from nf_mnist.checkpoints.writing import write_json
from nf_mnist.errors import ConfigError, DivergenceError
from nf_mnist.flows import Flow
from nf_mnist.hardware import describe, keep_freed_memory
from nf_mnist.metrics import bits_per_dim, count_parameters
from nf_mnist.runs.folder import folder_named, locked
from nf_mnist.runs.record import read_record, update_record
from nf_mnist.runs.report import write_report
from nf_mnist.runs.resume import Version, choose_checkpoint, load_initial_weights

if TYPE_CHECKING:
    import lightning as L

    from nf_mnist.training.datamodule import ImageDataModule
    from nf_mnist.training.module import FlowModule


def run_training(cfg: DictConfig, overrides: Sequence[str], rate_factors: Sequence[float] = ()) -> float:
    """Train a flow, choose the best checkpoint on validation images, and measure it.

    Args:
        cfg: The resolved configuration.
        overrides: The overrides on the command line, for the record of the run.
        rate_factors: Shares of the peak learning rate to replay, one for each batch; the schedule follows them.

    Returns:
        The validation loss of the best checkpoint, in nats per image.

    Raises:
        NFMnistError: If a setting is out of range, the folder belongs to another run, or the loss diverges.
    """
    check_training(cfg)
    if cfg.evaluation is not None:
        check_split(cfg.evaluation.split)
    if "flow" in cfg and cfg.flow._target_ is not None:
        cfg.model = own_model(cfg.flow, tuple(cfg.trust), cfg.data.event_shape)
    version = choose_checkpoint(cfg)
    keep_freed_memory()
    resolve_batch_size(cfg)
    record = {} if cfg.ckpt is None else read_record(Path(cfg.run_dir))
    with fixed_gain(record.get("bfloat16_is_faster")):  # resumed in the precision in which it began
        return _train(cfg, overrides, rate_factors, version)


def _train(cfg: DictConfig, overrides: Sequence[str], rate_factors: Sequence[float], version: Version | None) -> float:
    """Train from the checkpoint that has this version, or from the beginning, as :func:`run_training` says."""
    datamodule = build_datamodule(cfg)
    datamodule.setup()
    record_images(cfg, datamodule.sha256)
    trainer = build_trainer(cfg)
    _check_savers(cfg, trainer)
    module, checkpoint = _build_module(cfg, datamodule, trainer)
    module.replayed_factors = list(rate_factors)
    try:
        with contextlib.ExitStack() as stack:
            is_first = trainer.is_global_zero  # of several processes, the first keeps the record
            record = locked(cfg, overrides, trainer, checkpoint, version)
            begin = stack.enter_context(record) if is_first else lambda: None
            if is_first:
                _announce(cfg, module, trainer)
            stack.enter_context(folder_named(Path(cfg.run_dir)))
            return _fit_and_measure(cfg, trainer, module, datamodule, begin)
    except DivergenceError:
        _leave_after_first(trainer)
        raise


def _leave_after_first(trainer: "L.Trainer") -> None:
    """Let all processes, which raised the same error, wait until the first has recorded it; only that one reports it.

    Lightning kills the first process as soon as another one has failed.
    """
    with contextlib.suppress(RuntimeError):  # the others may leave a moment earlier
        trainer.strategy.barrier()
    if not trainer.is_global_zero:
        raise SystemExit(1)


def _check_savers(cfg: DictConfig, trainer: "L.Trainer") -> None:
    from nf_mnist.training.savers import check_savers  # imports Lightning

    check_savers(trainer, Path(cfg.run_dir))


def _build_module(
    cfg: DictConfig, datamodule: "ImageDataModule", trainer: "L.Trainer"
) -> tuple["FlowModule", dict[str, Any] | None]:
    """Build the module, fit it to the training levels, and load its initial weights in their precision.

    Returns:
        The module, and the checkpoint that the run resumes from.
    """
    module = build_module(cfg)
    _check_labels(module.flow, datamodule, cfg)
    module.fit_to(datamodule.train.levels)
    trainer.precision_plugin.convert_module(module)  # Lightning would convert it after it has loaded a checkpoint
    return module, load_initial_weights(module, trainer, cfg)


def _check_labels(flow: Flow, datamodule: "ImageDataModule", cfg: DictConfig) -> None:
    """Refuse labels that are no class of the flow, in all images that the run uses, and labels that are all equal."""
    is_tested = cfg.evaluation is not None and cfg.evaluation.split == "test"
    for images in (datamodule.train, datamodule.validation, *([datamodule.test] if is_tested else [])):
        flow.check_labels(images.labels, images.labels_source)
    labels = datamodule.train.labels
    if flow.n_classes > 1 and len(labels.unique()) == 1:
        raise ConfigError(
            f"model.flow.n_classes={flow.n_classes}, but every training image has the label {labels[0]}; give the "
            "file of images an array 'labels', or leave n_classes at 0"
        )


def _announce(cfg: DictConfig, module: "FlowModule", trainer: "L.Trainer") -> None:
    size, hardware = count_parameters(module), describe(trainer.strategy.root_device)
    print(f"{cfg.name}: {size:,} parameters on {hardware}, {trainer.precision}; results in {cfg.run_dir}")
    if cfg.data.dequantizer == "none":
        print(
            "warning: undithered levels have no bound on their likelihood; use data.dequantizer=uniform to measure it"
        )


def _fit_and_measure(
    cfg: DictConfig,
    trainer: "L.Trainer",
    module: "FlowModule",
    datamodule: "ImageDataModule",
    begin: Callable[[], None],
) -> float:
    from nf_mnist.training.callbacks.progress import mean_gpu_utilization
    from nf_mnist.training.fit import fit, log_metrics, training_seconds
    from nf_mnist.training.gpu import peak_memory_gib
    from nf_mnist.training.signals import stop_on_signals

    run_dir = Path(cfg.run_dir)
    with stop_on_signals(trainer, run_dir / "checkpoints" / "last.ckpt"):
        best, loss = fit(trainer, module, datamodule, run_dir, cfg.ckpt, begin)
    if not trainer.is_global_zero:
        return loss
    metrics = {"val_loss": loss}
    if module.has_bits:
        metrics["val_bpd"] = bits_per_dim(torch.tensor(-loss, dtype=torch.float64), 0.0, module.flow.dims).item()
    load = {
        "peak_memory_gib": peak_memory_gib(trainer.strategy.root_device),
        "gpu_utilization": mean_gpu_utilization(trainer),
    }
    update_record(run_dir, **metrics, **load)
    log_metrics(trainer, {f"best/{key}": value for key, value in metrics.items()})
    if cfg.evaluation is not None:
        _evaluate(cfg, best, training_seconds(trainer), trainer.strategy.root_device, load)
    return loss


def _evaluate(cfg: DictConfig, best: Path, seconds: float, device: torch.device, load: dict[str, float | None]) -> None:
    """Measure the best checkpoint as the evaluate command does, on the device of the training; print and write it."""
    run_dir = Path(cfg.run_dir)
    task = load_evaluation_task(best, cfg.evaluation, trust=cfg.get("trust", ()), device=str(device))
    metrics, unit, _, latents = evaluate_task(task)
    rows = {
        **metric_rows(metrics, unit),
        "training time": f"{seconds / 60:.1f} min on {describe(device)}",
        **_load_rows(load),
        "checkpoint": str(best),
        "samples and histograms": f"tensorboard --logdir {run_dir}",
    }
    provenance: dict[str, Any] = {"training_seconds": seconds, "hardware": describe(device), "checkpoint": str(best)}
    write_json(run_dir / "metrics.json", {"unit": unit, **metrics, **provenance})
    pictures = write_report(run_dir, cfg.name, rows, task.flow, latents, cfg.evaluation.seed)
    print_metrics({**rows, "pictures": f"{pictures} in {run_dir}"})


def _load_rows(load: dict[str, float | None]) -> dict[str, str]:
    """Return rows about the load of a GPU in training; what is not known, or a CPU, has none."""
    memory, utilization = load["peak_memory_gib"], load["gpu_utilization"]
    return {
        **({} if memory is None else {"largest memory on the GPU": f"{memory:.1f} GiB in training"}),
        **({} if utilization is None else {"mean utilization of the GPU": f"{utilization:.0f}% in training"}),
    }
