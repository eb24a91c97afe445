"""Flow matching with a small U-Net (Lipman et al. 2022, "Flow matching for generative modeling", arXiv:2210.02747)."""

from nf_mnist.bijectors import OdeSolver, Shape
from nf_mnist.errors import check_range
from nf_mnist.flows.components import Preprocess
from nf_mnist.flows.velocity_matching import FlowMatching
from nf_mnist.nets import VelocityUNet


def flow_matching(
    *,
    event_shape: Shape,
    preprocess: Preprocess,
    unet_channels: int,
    unet_blocks: int,
    tolerance: float,
    max_evaluations: int,
    n_sampling_steps: int,
    n_classes: int,
    label_dropout: float,
) -> FlowMatching:
    """Build a continuous flow whose velocities a U-Net predicts.

    Args:
        event_shape: (channels, height, width); the sides are even.
        preprocess: Factory of the first layer; see :func:`~nf_mnist.flows.preprocessing`.
        unet_channels: Number of channels of the U-Net at half of the resolution, a multiple of 8.
        unet_blocks: Number of its residual blocks on the way down, and on the way up, at each resolution.
        tolerance: Tolerance of the solver for log-densities and latents.
        max_evaluations: Largest number of evaluations of the U-Net in one solution.
        n_sampling_steps: Number of steps of a sample, with four evaluations of the U-Net each.
        n_classes: Number of class labels that condition everything; 0 for none.
        label_dropout: Share of the training images whose label is hidden; see :class:`~nf_mnist.flows.FlowMatching`.

    Raises:
        SettingError: If a size is out of range.
        ShapeError: If a side of the image is odd.
    """
    check_range(1, unet_channels=unet_channels, unet_blocks=unet_blocks, n_sampling_steps=n_sampling_steps)
    check_range(0, n_classes=n_classes)
    velocity = VelocityUNet(event_shape, unet_channels, unet_blocks, n_classes)
    solver = OdeSolver(tolerance, max_evaluations=max_evaluations)
    sampler = OdeSolver(n_steps=n_sampling_steps)
    return FlowMatching(preprocess(event_shape), velocity, solver, sampler, event_shape, n_classes, label_dropout)
