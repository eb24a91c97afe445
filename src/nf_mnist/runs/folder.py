"""The folder of a run while the run writes into it."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig, OmegaConf

from nf_mnist.bfloat16 import gains_from_bfloat16
from nf_mnist.checkpoints.writing import write_text
from nf_mnist.errors import MachineError
from nf_mnist.hardware import describe
from nf_mnist.runs.lock import lock_folder
from nf_mnist.runs.record import recorded, update_record
from nf_mnist.runs.report import REPORT_FILES
from nf_mnist.runs.resume import Version, check_free

if TYPE_CHECKING:
    import lightning as L


@contextlib.contextmanager
def locked(
    cfg: DictConfig,
    overrides: Sequence[str],
    trainer: "L.Trainer",
    checkpoint: dict[str, Any] | None,
    version: Version | None,
) -> Iterator[Callable[[], None]]:
    """Lock the folder of the run; yield a function that begins the record of the run, which ends with the block.

    Metrics of steps that are taken anew, and metrics and pictures of an earlier best checkpoint, are removed then.

    Args:
        cfg: The resolved configuration.
        overrides: The overrides on the command line.
        trainer: The trainer of the run.
        checkpoint: The checkpoint that the run resumes from, or None.
        version: Its version before it was read.

    Raises:
        ConfigError: If the folder holds another run; see :func:`~nf_mnist.runs.resume.check_free`.
        RunError: If another process has gone on with the run meanwhile.
        MachineError: If another process holds the folder.
    """
    from nf_mnist.training.callbacks.cores import fewest_threads  # imports Lightning
    from nf_mnist.training.csv_logger import rewind_metrics
    from nf_mnist.training.gpu import gpu_record

    run_dir, device = Path(cfg.run_dir), trainer.strategy.root_device
    fields = {"name": cfg.name, "seed": cfg.seed, "hardware": describe(device), "threads": torch.get_num_threads()}
    fields |= {"precision": str(trainer.precision), "bfloat16_is_faster": gains_from_bfloat16(device)}
    fields |= {"gpu": gpu_record(device)}
    with lock_folder(run_dir, "run"), contextlib.ExitStack() as record:
        check_free(run_dir, cfg.ckpt, version)

        def record_threads() -> None:
            with contextlib.suppress(OSError):  # the disk may be full
                update_record(run_dir, fewest_threads=fewest_threads(trainer))

        def begin() -> None:
            record.enter_context(recorded(run_dir, overrides, **fields))
            record.callback(record_threads)
            write_text(run_dir / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
            for name in ("metrics.json", *REPORT_FILES):
                (run_dir / name).unlink(missing_ok=True)
            rewind_metrics(trainer, checkpoint)

        yield begin


@contextlib.contextmanager
def folder_named(run_dir: Path) -> Iterator[None]:
    """Name the folder of the run where a logger cannot write and the system names no file, as on a full disk.

    Raises:
        MachineError: In place of such an error.
    """
    from nf_mnist.training.checkpoint_io import how_to_resume  # imports Lightning

    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        reason = error.strerror or error
        raise MachineError(
            f"cannot write into {run_dir}: {reason}; {how_to_resume(run_dir / 'checkpoints')}"
        ) from error
