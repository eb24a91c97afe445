"""Views of the latents z at each validation: norm, moments of each dimension, and a random projection."""

import lightning as L
from torch import Tensor

from nf_mnist.metrics import moments, radius, random_projection
from nf_mnist.plots import moment_maps, projection_scatter, radius_histogram
from nf_mnist.training.callbacks.base import ValidationCallback, log_figure, tensorboard_writers
from nf_mnist.training.module import FlowModule


class LogLatentRadius(ValidationCallback):
    """Writes a histogram of the norm of z under the chi density, and the mean and standard deviation of the norm."""

    def show(self, trainer: L.Trainer, pl_module: FlowModule, x: Tensor, z: Tensor, labels: Tensor) -> None:
        measured = radius(z)
        pl_module.log_dict({"latent/radius_mean": measured.mean, "latent/radius_std": measured.std}, sync_dist=True)
        log_figure(trainer, "latent/radius_against_chi", radius_histogram(z))
        for writer in tensorboard_writers(trainer):
            writer.add_histogram("latent/radius", z.norm(dim=1), trainer.global_step)


class LogLatentMoments(ValidationCallback):
    """Writes the mean and standard deviation of each dimension of z as images, and their worst deviations."""

    def show(self, trainer: L.Trainer, pl_module: FlowModule, x: Tensor, z: Tensor, labels: Tensor) -> None:
        mean, std = moments(z)
        worst = {"latent/worst_mean": mean.abs().max(), "latent/worst_std": (std - 1).abs().max()}
        pl_module.log_dict(worst, sync_dist=True)
        log_figure(trainer, "latent/moments", moment_maps(mean, std))


class LogLatentProjection(ValidationCallback):
    """Writes a scatter plot of z on a random plane, which stays the same throughout a training.

    Args:
        n_images: Number of images to project.
        seed: Seed for the plane.
    """

    def __init__(self, n_images: int, seed: int = 0) -> None:
        super().__init__(n_images)
        self.seed = seed

    def show(self, trainer: L.Trainer, pl_module: FlowModule, x: Tensor, z: Tensor, labels: Tensor) -> None:
        log_figure(trainer, "latent/projection", projection_scatter(random_projection(z, self.seed)))
