"""FFJORD (Grathwohl et al. 2019, arXiv:1810.01367), regularized after Finlay et al. 2020 (arXiv:2002.02798)."""

from nf_mnist.bijectors import OdeSolver, Shape
from nf_mnist.errors import check_range
from nf_mnist.flows.components import Preprocess
from nf_mnist.flows.continuous_flow import RegularizedFlow
from nf_mnist.nets import VelocityUNet


def ffjord(
    *,
    event_shape: Shape,
    preprocess: Preprocess,
    unet_channels: int,
    unet_blocks: int,
    tolerance: float,
    max_evaluations: int,
    n_training_steps: int,
    n_sampling_steps: int,
    kinetic_weight: float,
    frobenius_weight: float,
    n_classes: int,
) -> RegularizedFlow:
    """Build a continuous flow that is trained by likelihood.

    Args:
        event_shape: (channels, height, width); the sides are even.
        preprocess: Factory of the first layer; see :func:`~nf_mnist.flows.preprocessing`.
        unet_channels: Number of channels of the U-Net at half of the resolution, a multiple of 8.
        unet_blocks: Number of its residual blocks on the way down, and on the way up, at each resolution.
        tolerance: Tolerance of the solver for log-densities and latents.
        max_evaluations: Largest number of evaluations of the U-Net in one solution.
        n_training_steps: Number of steps of a solution in training, with four evaluations of the U-Net each.
        n_sampling_steps: Number of steps of a sample.
        kinetic_weight: Penalty on the squared velocity; see :class:`~nf_mnist.flows.RegularizedFlow`.
        frobenius_weight: Penalty on the squared Jacobian of the velocity.
        n_classes: Number of class labels that condition everything; 0 for none.

    Raises:
        SettingError: If a setting is out of range.
        ShapeError: If a side of the image is odd.
    """
    check_range(1, unet_channels=unet_channels, unet_blocks=unet_blocks)
    check_range(1, n_training_steps=n_training_steps, n_sampling_steps=n_sampling_steps)
    check_range(0, n_classes=n_classes)
    return RegularizedFlow(
        preprocess(event_shape),
        VelocityUNet(event_shape, unet_channels, unet_blocks, n_classes),
        OdeSolver(tolerance, max_evaluations=max_evaluations),
        OdeSolver(n_steps=n_sampling_steps),
        OdeSolver(n_steps=n_training_steps),
        event_shape,
        n_classes,
        kinetic_weight,
        frobenius_weight,
    )
