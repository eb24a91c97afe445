"""Continuous flows: an image moves to its latent along a velocity field."""

from typing import cast

from torch import Tensor, nn

from nf_mnist.bijectors import Bijector, ContinuousMap, Flatten, OdeSolver, Sequential, Shape
from nf_mnist.errors import check_range
from nf_mnist.flows.flow import Flow


class ContinuousFlow(Flow):
    """A continuous flow, whose latents, samples and log-densities come from solving a differential equation.

    Args:
        preprocess: The first layer.
        velocity: Maps states, shape (batch, *event_shape), times, shape (batch,), and labels to velocities.
        solver: Solver for latents, log-densities and their inverse.
        sampler: Solver for samples, with fewer evaluations.
        event_shape: (channels, height, width).
        n_classes: Number of class labels that condition everything; 0 for none.
    """

    def __init__(
        self,
        preprocess: Bijector,
        velocity: nn.Module,
        solver: OdeSolver,
        sampler: OdeSolver,
        event_shape: Shape,
        n_classes: int = 0,
    ) -> None:
        layers = [preprocess, ContinuousMap(velocity, solver), Flatten(event_shape)]
        super().__init__(Sequential(layers), event_shape, n_classes)
        self.sampler = sampler

    @property
    def preprocess(self) -> Bijector:
        """The first layer."""
        return cast(Sequential, self.bijector).layers()[0]

    @property
    def map(self) -> ContinuousMap:
        """The map from preprocessed images to latents."""
        return cast(ContinuousMap, cast(Sequential, self.bijector).layers()[1])

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        self._check(x, context)
        return self.map.transport(self.preprocess(x)[0], context, 0.0, 1.0).flatten(1)

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        self._check_latents(z, context)
        return self._decoded(z, context, self.map.solver)

    def solver_metrics(self) -> dict[str, float | int]:
        """Return ``solver_tolerance``, and ``solver_evaluations``, the mean number in a solution so far."""
        solver = self.map.solver
        return {"solver_tolerance": solver.tolerance, "solver_evaluations": solver.mean_evaluations()}

    def _generate(self, z: Tensor, context: Tensor | None) -> Tensor:
        return self._decoded(z, context, self.sampler)

    def _decoded(self, z: Tensor, context: Tensor | None, solver: OdeSolver) -> Tensor:
        state = self.map.transport(z.unflatten(1, self.event_shape), context, 1.0, 0.0, solver)
        return self.preprocess.inverse_and_log_det(state)[0]


class RegularizedFlow(ContinuousFlow):
    """A continuous flow trained by likelihood, with penalties on long and curved trajectories (Finlay et al. 2020).

    The loss is ``-log p + kinetic_weight K + frobenius_weight J``, in nats per image, where K is the integral of the
    squared velocity and J that of the squared Frobenius norm of its Jacobian. Without the two penalties, the solver
    takes more and more evaluations as training goes on. In training, the equation is solved in few steps of equal
    length.

    Args:
        preprocess: The first layer.
        velocity: Maps states, times and labels to velocities; see :class:`ContinuousFlow`.
        solver: Solver for latents, log-densities and their inverse.
        sampler: Solver for samples.
        trainer: Solver for training.
        event_shape: (channels, height, width).
        n_classes: Number of class labels that condition everything; 0 for none.
        kinetic_weight: Weight of K.
        frobenius_weight: Weight of J.

    Raises:
        SettingError: If a weight is negative.
    """

    def __init__(
        self,
        preprocess: Bijector,
        velocity: nn.Module,
        solver: OdeSolver,
        sampler: OdeSolver,
        trainer: OdeSolver,
        event_shape: Shape,
        n_classes: int,
        kinetic_weight: float,
        frobenius_weight: float,
    ) -> None:
        check_range(0, kinetic_weight=kinetic_weight, frobenius_weight=frobenius_weight)
        super().__init__(preprocess, velocity, solver, sampler, event_shape, n_classes)
        self.trainer = trainer
        self.kinetic_weight, self.frobenius_weight = kinetic_weight, frobenius_weight

    def training_loss(self, x: Tensor, log_q: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the mean negative log-likelihood in nats, plus the penalties on trajectories.

        Args:
            x: Dequantized images, shape (batch, *event_shape).
            log_q: log q(x | levels) of the dequantizer in nats, shape (batch,).
            context: Labels, shape (batch,), or None.
        """
        self._check(x, context)
        start, log_det = self.preprocess(x, context)
        transported = self.map.transport_and_costs(start, context, 0.0, 1.0, self.trainer)
        log_p = self.base.log_prob(transported.state.flatten(1)) + log_det + transported.log_det
        penalty = self.kinetic_weight * transported.kinetic + self.frobenius_weight * transported.frobenius
        return (log_q - log_p + penalty).mean()
