"""A continuous flow that is trained by matching velocities, without solving its equation."""

import torch
from torch import Tensor, nn

from nf_mnist.bijectors import Bijector, OdeSolver, Shape
from nf_mnist.errors import ConfigError, check_range
from nf_mnist.flows.continuous_flow import ContinuousFlow
from nf_mnist.flows.flow import Flow
from nf_mnist.nets import GuidedVelocity, LabelledVelocity, hide_labels


class FlowMatching(ContinuousFlow):
    """A continuous flow on straight paths from data to noise (Lipman et al. 2022, "Flow matching", arXiv:2210.02747).

    Training draws a time t, an image x and noise e, and fits the velocity at ``(1 - t) x + t e`` to ``e - x``. In the
    mean over all x and e, this is the velocity of a flow from the data at time 0 to a standard normal at time 1. The
    likelihood plays no part in training. It is measured by solving the equation.

    Args:
        preprocess: The first layer.
        velocity: Maps states, shape (batch, *event_shape), times, shape (batch,), and labels to velocities.
        solver: Solver for latents, log-densities and their inverse.
        sampler: Solver for samples, with fewer evaluations.
        event_shape: (channels, height, width).
        n_classes: Number of class labels that condition everything; 0 for none.
        label_dropout: Share of the training images whose label is hidden. Guidance needs it.

    Raises:
        SettingError: If ``label_dropout`` is not a share.
    """

    loss_is_likelihood = False

    def __init__(
        self,
        preprocess: Bijector,
        velocity: nn.Module,
        solver: OdeSolver,
        sampler: OdeSolver,
        event_shape: Shape,
        n_classes: int,
        label_dropout: float,
    ) -> None:
        check_range(0, 1, label_dropout=label_dropout)
        super().__init__(preprocess, velocity, solver, sampler, event_shape, n_classes)
        self.label_dropout = label_dropout

    def training_loss(self, x: Tensor, log_q: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the mean squared error of the velocities, per dimension; 0 cannot be reached.

        Args:
            x: Images, shape (batch, *event_shape).
            log_q: Not used.
            context: Labels, shape (batch,).
        """
        with torch.no_grad():
            data, _ = self.preprocess(x)
        noise, time = torch.randn_like(data), torch.rand(len(x), dtype=x.dtype, device=x.device)
        state = torch.lerp(data, noise, time[:, None, None, None])
        return (self.map.velocity(state, time, context) - (noise - data)).square().mean()

    def training_context(self, levels: Tensor, labels: Tensor) -> Tensor | None:
        """Return the labels of a training batch, some of them hidden at random; None for a flow without labels."""
        return hide_labels(labels, self.label_dropout) if self.n_classes else None

    def guided(self, weight: float, attention_temperature: float | None = None) -> Flow:
        if attention_temperature is not None:
            raise ConfigError("attention_temperature= is for model=tarflow only; leave it out")
        if not self.n_classes or not self.label_dropout:
            raise ConfigError(
                "guidance needs class labels, some of them hidden in training (model.flow.n_classes=10, "
                "model.flow.label_dropout=0.1)"
            )
        return self._with_velocity(GuidedVelocity(self.map.velocity, weight), self.n_classes)

    def given_label(self, label: int | None) -> Flow:
        self.check_label(label)
        return self._with_velocity(LabelledVelocity(self.map.velocity, label), 0)

    def _with_velocity(self, velocity: nn.Module, n_classes: int) -> "FlowMatching":
        solvers = self.map.solver, self.sampler
        return FlowMatching(self.preprocess, velocity, *solvers, self.event_shape, n_classes, 0.0).eval()
