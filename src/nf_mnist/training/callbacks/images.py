"""Views of images at each validation: samples from the flow, and reconstructions."""

from collections.abc import Sequence

import lightning as L
import torch
from torch import Tensor

from nf_mnist.data import to_levels
from nf_mnist.errors import ConfigError, check_range
from nf_mnist.plots import image_grid
from nf_mnist.training.callbacks.base import ValidationCallback, flow_module, tensorboard_writers
from nf_mnist.training.module import FlowModule


class LogSamples(L.Callback):
    """Writes a grid of samples for each temperature; the latents stay the same, so that one sees each image evolve.

    Args:
        n_samples: Number of images in a grid.
        temperatures: Standard deviations of the latents, one for each grid.
        seed: Seed for the latents.

    Raises:
        ConfigError: If a temperature is negative or ``n_samples`` is below 1.
    """

    def __init__(self, n_samples: int, temperatures: Sequence[float], seed: int = 0) -> None:
        check_range(1, n_samples=n_samples)
        if min(temperatures, default=0) < 0:
            raise ConfigError(f"temperatures of samples must be at least 0, got {temperatures}")
        self.n_samples, self.temperatures, self.seed = n_samples, temperatures, seed

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for writer in tensorboard_writers(trainer):
            for temperature in self.temperatures:
                generator = torch.Generator().manual_seed(self.seed)
                with torch.autocast(pl_module.device.type, enabled=False):
                    x = flow_module(pl_module).flow.sample(self.n_samples, temperature, generator=generator)
                writer.add_image(f"samples/temperature_{temperature:g}", image_grid(x), trainer.global_step)


class LogRoundTrip(ValidationCallback):
    """Writes images above their reconstructions ``decode(encode(x))``, and the largest error in units of x."""

    @torch.no_grad()
    def show(self, trainer: L.Trainer, pl_module: FlowModule, x: Tensor, z: Tensor, labels: Tensor) -> None:
        with torch.autocast(pl_module.device.type, enabled=False):
            context = pl_module.flow.validation_context(to_levels(x), labels)
            decoded = pl_module.flow.decode(z, context)
        error = (decoded - x).abs().max()
        pl_module.log("val/round_trip_error", error, sync_dist=True, reduce_fx="max")
        for writer in tensorboard_writers(trainer):
            grid = image_grid(torch.cat([x, decoded]), columns=len(x))
            writer.add_image("samples/round_trip", grid, trainer.global_step)
