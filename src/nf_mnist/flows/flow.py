"""A normalizing flow: a bijector and a base distribution."""

import torch
from torch import Tensor, nn

from nf_mnist.bijectors import Bijector, GivenLabel, Shape
from nf_mnist.data.labels import check_labels
from nf_mnist.errors import ConfigError, ShapeError
from nf_mnist.flows.standard_normal import StandardNormal


class Flow(nn.Module):
    """A density on images: ``log p(x) = log p(z) + log_det`` with ``z = bijector(x)`` standard normal.

    Args:
        bijector: Maps data, shape (batch, *event_shape), to a flat latent, shape (batch, dims).
        event_shape: Shape of an image, (channels, height, width).
        n_classes: Number of class labels that the flow is conditioned on; 0 for none. With labels, the context is a
            tensor of labels, shape (batch,) and dtype int64.

    Attributes:
        dims: Number of dimensions of data and latent alike, 784 for MNIST.
        takes_observed_pixels: Whether the context is an image of which some pixels are observed.
        label_dropout: Share of the training images whose label is hidden, so that images of any class are learned, too.
        loss_is_likelihood: Whether :meth:`training_loss` is a negative log-likelihood in nats per image.
    """

    bijector: Bijector
    takes_observed_pixels = False
    label_dropout = 0.0
    loss_is_likelihood = True

    def __init__(self, bijector: Bijector, event_shape: Shape, n_classes: int = 0) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.event_shape = tuple(event_shape)
        self.dims = torch.Size(event_shape).numel()
        self.bijector = bijector
        self.base = StandardNormal(self.dims)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the latent, shape (batch, dims), and log p(x) in nats, shape (batch,), from one pass.

        Raises:
            ConfigError: If the flow has labels and the context is missing, or the reverse.
            ShapeError: If images or context have another shape.
        """
        self._check(x, context)
        z, log_det = self.bijector(x, context)
        return z, self.base.log_prob(z) + log_det

    def training_loss(self, x: Tensor, log_q: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the loss that training minimizes, a tensor of no dimensions: the mean negative log-likelihood in nats.

        Args:
            x: Dequantized images, shape (batch, *event_shape).
            log_q: log q(x | levels) of the dequantizer in nats, shape (batch,).
            context: What :meth:`training_context` returns.
        """
        return (log_q - self.log_prob(x, context)).mean()

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log p(x) in nats, shape (batch,): the log-density of x, not the log-probability of levels."""
        return self(x, context)[1]

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map data to latents of all scales, shape (batch, dims)."""
        self._check(x, context)
        return self.bijector(x, context)[0]

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Map latents, shape (batch, dims), to data; ``decode(encode(x))`` is x."""
        self._check_latents(z, context)
        return self.bijector.inverse_and_log_det(z, context)[0]

    @torch.no_grad()
    def sample(
        self,
        n: int,
        temperature: float = 1.0,
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw n images, shape (n, *event_shape).

        Args:
            n: Number of images.
            temperature: Standard deviation of the latents; below 1, samples are more typical and less diverse.
            context: Labels, shape (n,); if None, a flow with labels cycles through its classes.
            generator: A CPU generator, for repeatable draws; None uses the global random state.

        Raises:
            ConfigError: If n is below 1 or the temperature is negative.
        """
        if n < 1 or temperature < 0:
            raise ConfigError(f"sampling needs n >= 1 and temperature >= 0, got {n} and {temperature}")
        reference = next(self.parameters(), torch.empty(0))
        z = temperature * self.base.sample(n, generator)
        if context is None:
            context = self.cycled_labels(n)
        return self._generate(z.to(reference), context)

    def _generate(self, z: Tensor, context: Tensor | None) -> Tensor:
        """Return the samples of latents; a flow may compute them less exactly than :meth:`decode`."""
        return self.decode(z, context)

    def denoise(self, x: Tensor, noise_std: float, context: Tensor | None = None) -> Tensor:
        """Return the expected clean images behind noisy ones, ``x + noise_std^2 grad log p(x)`` (Tweedie's formula).

        It holds for a flow of images with Gaussian noise, such as ``data.dequantizer=gaussian`` adds (Zhai et al. 2024,
        section 2.5).

        Args:
            x: Images with noise, such as samples, shape (batch, *event_shape).
            noise_std: Standard deviation of the noise.
            context: Labels, shape (batch,), for a flow with labels.

        Raises:
            ConfigError: If the density jumps, so that it has no such gradient.
        """
        if not self.bijector.is_continuous:
            raise ConfigError("the density of this flow has no gradient to denoise by: it jumps from level to level")
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            (score,) = torch.autograd.grad(self.log_prob(x, context).sum(), x)
        return x.detach() + noise_std**2 * score

    def guided(self, weight: float, attention_temperature: float | None = None) -> "Flow":
        """Return a flow of guided samples, which are more typical of their class and less diverse.

        It shares the weights of this flow. Where this flow predicts p, the result predicts ``p + weight (p - q)``.

        Args:
            weight: Strength of the guidance; 0 changes nothing.
            attention_temperature: Divisor of the logits of the attentions that predict q; None for 1, with labels.

        Raises:
            ConfigError: If the flow has no network to guide, or nothing that q could leave out.
        """
        raise ConfigError(
            "guidance is for model=tarflow and flow_matching; this flow has no predictions to extrapolate"
        )

    def given_label(self, label: int | None) -> "Flow":
        """Return a flow without labels, of images of one class; it shares the weights of this flow.

        Args:
            label: The class; None for images of any class, if the flow has learned some without their labels.

        Raises:
            ConfigError: If this flow has no such label, or no images without labels were learned.
        """
        self.check_label(label)
        given = Flow(GivenLabel(self.bijector, label), self.event_shape)
        given.base = self.base
        return given.eval()

    def solver_metrics(self) -> dict[str, float | int]:
        """Return what the solver of a differential equation was asked for and took; empty for flows without one."""
        return {}

    def cycled_labels(self, n: int) -> Tensor | None:
        """Return n labels that cycle through the classes, on the device of the flow; None without classes."""
        if not self.n_classes:
            return None
        return torch.arange(n, device=next(self.parameters(), torch.empty(0)).device) % self.n_classes

    def context(self, labels: Tensor) -> Tensor | None:
        """Return the context for a batch's labels, shape (batch,): the labels, or None for an unconditional flow."""
        return labels if self.n_classes else None

    def training_context(self, levels: Tensor, labels: Tensor) -> Tensor | None:
        """Return the context for a training batch; this class uses only the labels.

        Args:
            levels: Images, shape (batch, *event_shape) and dtype uint8.
            labels: Class labels, shape (batch,).
        """
        return self.context(labels)

    def validation_context(self, levels: Tensor, labels: Tensor) -> Tensor | None:
        """Return the context for a validation batch; the arguments are those of :meth:`training_context`."""
        return self.context(labels)

    def check_labels(self, labels: Tensor, source: str = "") -> None:
        """Check all labels of a set of images before any of them is used.

        Args:
            labels: The labels, shape (n,).
            source: Where they are from, for the message.

        Raises:
            ConfigError: If the flow is conditioned on labels and a label is not one of its classes.
        """
        if self.n_classes:
            check_labels(labels, self.n_classes, "this flow is conditioned on", source, "model.flow.n_classes")

    def check_label(self, label: int | None) -> None:
        """Check that the flow has a label.

        Args:
            label: The label; None for images of any class.

        Raises:
            ConfigError: If it has no such label, or no images without labels were learned.
        """
        if not self.n_classes:
            raise ConfigError(f"label={label}, but this flow has no class labels; leave the label out")
        if label is None and not self.label_dropout:
            raise ConfigError(
                f"this flow has learned no images without their labels; give a label, 0 to {self.n_classes - 1}"
            )
        if label is not None and not 0 <= label < self.n_classes:
            raise ConfigError(f"label={label}, but this flow has {self.n_classes} labels, counted from 0")

    def _check(self, x: Tensor, context: Tensor | None) -> None:
        if x.shape[1:] != self.event_shape:
            raise ShapeError(f"this flow takes (batch, {_commas(self.event_shape)}), got ({_commas(x.shape)})")
        self._check_context(context, len(x))

    def _check_latents(self, z: Tensor, context: Tensor | None) -> None:
        if z.shape[1:] != (self.dims,):
            raise ShapeError(f"this flow's latents are (batch, {self.dims}), got ({_commas(z.shape)})")
        self._check_context(context, len(z))

    def _check_context(self, context: Tensor | None, batch_size: int) -> None:
        if self.n_classes and context is None:
            raise ConfigError(f"this flow is conditioned on {self.n_classes} class labels; give them as context")
        if not self.n_classes and context is not None:
            raise ConfigError("this flow has no labels; leave the context out")
        if context is not None and context.shape != (batch_size,):
            raise ShapeError(f"{batch_size} images need as many labels, got ({_commas(context.shape)})")


def _commas(shape: Shape) -> str:
    return ", ".join(str(side) for side in shape)
