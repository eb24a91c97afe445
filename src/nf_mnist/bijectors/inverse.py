"""A bijector used in the other direction."""

from torch import Tensor

from nf_mnist.bijectors.base import Bijector


class Inverse(Bijector):
    """The inverse of a bijector: what took data to latent takes latent to data.

    Around a :class:`~nf_mnist.bijectors.MaskedAutoregression` it is an inverse autoregressive flow, which samples in
    one pass (Kingma et al. 2016, "Improving variational inference with inverse autoregressive flow").

    Args:
        inner: The bijector.
    """

    def __init__(self, inner: Bijector) -> None:
        super().__init__()
        self.inner = inner

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.inner.inverse_and_log_det(x, context)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.inner(z, context)
