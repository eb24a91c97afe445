"""``data.batch_size=auto``: the batch size of a resumed run, or the one at which a GPU is busy."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from omegaconf import DictConfig

from nf_mnist.app.building import build_module, load_split
from nf_mnist.app.settings import AUTO
from nf_mnist.checkpoints.reading import read_checkpoint
from nf_mnist.errors import CheckpointError, MachineError
from nf_mnist.hardware import autocast_of, dtype_of, resolve_precision

if TYPE_CHECKING:
    from nf_mnist.training.batch_size import TrainingSpeed

MIN_STEPS_PER_EPOCH = 20


def resolve_batch_size(cfg: DictConfig, device: torch.device | str = "cuda") -> None:
    """Replace ``data.batch_size=auto`` by a number, and say in one line which and why.

    A run that is resumed keeps its own.

    Args:
        cfg: The configuration of a training, checked by :func:`~nf_mnist.app.settings.check_training`.
        device: The device that trains.

    Raises:
        MachineError: If not even the smallest batch fits.
        CheckpointError: If the checkpoint to resume from does not say its batch size.
    """
    if cfg.data.batch_size != AUTO:
        return
    if cfg.ckpt is not None:
        cfg.data.batch_size = _batch_size_of(cfg.ckpt)
        return
    from nf_mnist.training.batch_size import SMALLEST, speeds_until_busy  # imports Lightning

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype_of(resolve_precision(cfg.trainer.precision, torch.device(device).type)))
    try:
        speed = _training_speed(cfg, torch.device(device))
        speeds = speeds_until_busy(speed, max(SMALLEST, len(speed.images.levels) // MIN_STEPS_PER_EPOCH))
    finally:
        torch.set_default_dtype(before)
    if not speeds:
        raise MachineError(f"data.batch_size=auto: not even {SMALLEST} images fit; use a smaller model.flow")
    cfg.data.batch_size = max(speeds)
    del speed
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    found = ", ".join(f"{size}: {rate:,.0f}" for size, rate in speeds.items())
    print(
        f"data.batch_size={cfg.data.batch_size}, since a larger one trains hardly faster or does not fit; images/s at "
        f"{found}"
    )


def _batch_size_of(ckpt: str) -> int:
    data = read_checkpoint(ckpt)["config"].get("data")
    found = data.get("batch_size") if isinstance(data, Mapping) else None
    if not isinstance(found, int) or isinstance(found, bool):
        raise CheckpointError(f"{ckpt} does not say the batch size of its run; give it as data.batch_size=")
    return found


def _training_speed(cfg: DictConfig, device: torch.device) -> "TrainingSpeed":
    """Build the flow once more, uncompiled, with its optimizer, on the device."""
    from nf_mnist.training.batch_size import TrainingSpeed

    cfg = cfg.copy()
    cfg.model.compile = False
    precision = resolve_precision(cfg.trainer.precision, device.type)
    _, train = load_split(cfg.data, "validation")
    module = build_module(cfg)
    module.fit_to(train.levels)
    return TrainingSpeed(module.to(device, dtype_of(precision)), train, autocast_of(precision, device))
