"""A view of inpainting at each validation."""

import lightning as L
import torch
from torch import Tensor

from nf_mnist.errors import check_range
from nf_mnist.inpainting import budgeted_completions, corrupt, has_budgeted_method, make_observed, scores
from nf_mnist.inpainting.logits import log_prob_of_logits, to_logits
from nf_mnist.plots import image_grid
from nf_mnist.training.callbacks.base import ValidationCallback, tensorboard_writers
from nf_mnist.training.module import FlowModule


class LogInpainting(ValidationCallback):
    """Writes rows of truth, corrupted image and completions, and the completions' squared error and climb.

    The squared error is that of one completion, summed over pixels in [0, 1]. The climb is log p of the completion
    minus log p of the true image, in logit space and nats; above 0, the flow prefers the completion. Nothing is written
    for flows without a method that is quick enough. Completions are computed in the precision of training.

    Args:
        n_images: Number of rows.
        mask: The hidden part; see :func:`~nf_mnist.inpainting.make_observed`.
        n_samples: Number of completions of each image.
        n_steps: Budget of each completion: gradients of a climb, or transitions of a chain.
        seed: Seed for noise and latents; the same at each validation.
    """

    def __init__(self, n_images: int, mask: str, n_samples: int, n_steps: int, seed: int = 0) -> None:
        super().__init__(n_images)
        check_range(1, n_samples=n_samples, n_steps=n_steps)
        self.mask, self.n_samples, self.n_steps, self.seed = mask, n_samples, n_steps, seed

    def show(self, trainer: L.Trainer, pl_module: FlowModule, x: Tensor, z: Tensor, labels: Tensor) -> None:
        flow = pl_module.flow
        if not has_budgeted_method(flow) or not trainer.is_global_zero:
            return
        # Validation runs in inference mode, which has no gradients.
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            truth = x.clamp(0, 1)  # a copy; Gaussian noise leaves the interval
            observed = make_observed(self.mask, flow.event_shape).to(x.device)
            generator = torch.Generator().manual_seed(self.seed)
            corrupted = corrupt(truth, observed, "gaussian_noise", generator)
            with trainer.precision_plugin.forward_context():  # as fast as training; metrics follow in float32
                completions = budgeted_completions(flow, truth, observed, self.n_samples, self.n_steps, generator)
            squared_error = scores(completions, truth, observed)["squared_error"]
            both = to_logits(torch.cat([completions.x[0], truth]))
            log_prob, of_truth = log_prob_of_logits(flow, both)[1].chunk(2)
        grid = torch.cat([truth[None], corrupted[None], completions.x]).transpose(0, 1).flatten(0, 1)
        for writer in tensorboard_writers(trainer):
            step = trainer.global_step
            writer.add_image(f"inpaint/{self.mask}", image_grid(grid, columns=2 + self.n_samples), step)
            writer.add_scalar("inpaint/squared_error", squared_error.mean(), step)
            writer.add_scalar("inpaint/climb", (log_prob - of_truth).mean(), step)
