"""Muon: momentum with orthogonalized matrices (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon)."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW

from nf_mnist.errors import ConfigError

# Coefficients of X -> A X + B (XX')X + C (XX')^2 X, which moves all singular values near 1 in a few iterations.
A, B, C = 3.4445, -4.7750, 2.0315
N_ITERATIONS = 5
NEGLIGIBLE = 1e-10  # of the norm of a matrix; float32 has seven digits


class Muon(AdamW):
    """Muon for matrices and convolution kernels with several rows and columns, AdamW for all other parameters.

    Args:
        params: The parameters with their names.
        lr: Learning rate of AdamW.
        matrix_lr: Learning rate of Muon. Its updates have singular values near 1, so this is the size of a step in the
            spectral norm.
        adam: Regular expressions for the names of matrices that AdamW updates: first and last layers, embeddings.
        momentum: Nesterov momentum of Muon.
        betas: Decay rates of AdamW's averages.
        weight_decay: Decoupled weight decay of both.

    Raises:
        ConfigError: If ``matrix_lr`` is negative or the momentum outside [0, 1).
    """

    def __init__(
        self,
        params: Iterable[tuple[str, nn.Parameter]],
        lr: float,
        matrix_lr: float,
        adam: Sequence[str],
        momentum: float,
        betas: Sequence[float],
        weight_decay: float,
    ) -> None:
        if matrix_lr < 0 or not 0 <= momentum < 1:
            raise ConfigError(f"Muon needs matrix_lr >= 0 and 0 <= momentum < 1, got {matrix_lr} and {momentum}")
        matrices: list[tuple[str, nn.Parameter]] = []
        others: list[tuple[str, nn.Parameter]] = []
        for name, value in params:
            is_matrix = min(value.shape[:1].numel(), value.shape[1:].numel()) > 1
            is_matrix = is_matrix and not any(re.search(pattern, name) for pattern in adam)
            (matrices if is_matrix else others).append((name, value))
        # PyTorch refuses a group without parameters, and a model may have no matrices.
        groups: list[dict[str, Any]] = [{"params": others}] if others else []
        if matrices:
            groups.append({"params": matrices, "lr": matrix_lr, "momentum": momentum})
        super().__init__(groups, lr=lr, betas=(betas[0], betas[1]), weight_decay=weight_decay, foreach=True)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Update all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        matrices = [value for group in self.param_groups if "momentum" in group for value in group["params"]]
        gradients = [value.grad for value in matrices]
        for group in self.param_groups:
            if "momentum" in group:
                self._step_matrices(group)
        for value in matrices:
            value.grad = None  # AdamW skips parameters without a gradient
        super().step()
        for value, gradient in zip(matrices, gradients, strict=True):
            value.grad = gradient
        return loss

    def _step_matrices(self, group: dict[str, Any]) -> None:
        """Update the parameters of a group; parameters of one shape are orthogonalized together."""
        values = [value for value in group["params"] if value.grad is not None]
        if not values:
            return
        gradients = [value.grad for value in values]
        buffers = [self._momentum_buffer(value) for value in values]
        torch._foreach_add_([self.state[value]["step"] for value in values], 1.0)
        torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
        updates = torch._foreach_lerp(gradients, buffers, group["momentum"])
        torch._foreach_mul_(values, 1 - group["lr"] * group["weight_decay"])
        by_shape: dict[torch.Size, list[int]] = {}
        for i, value in enumerate(values):
            by_shape.setdefault(value.shape, []).append(i)
        for shape, members in by_shape.items():
            turned = orthogonalize(torch.stack([updates[i] for i in members]).flatten(2))
            turned = turned.to(values[members[0]].dtype).reshape(-1, *shape)
            scale = max(1.0, shape[0] / shape[1:].numel()) ** 0.5
            torch._foreach_add_([values[i] for i in members], list(turned), alpha=-group["lr"] * scale)

    def _momentum_buffer(self, value: nn.Parameter) -> Tensor:
        state = self.state[value]
        if "momentum_buffer" not in state:
            state["step"] = torch.zeros(())  # AdamW needs it when it loads a state
            state["momentum_buffer"] = torch.zeros_like(value)
        return state["momentum_buffer"]


def orthogonalize(matrices: Tensor) -> Tensor:
    """Return matrices, shape (n, rows, columns), with the same singular vectors and all singular values near 1.

    The values end between 0.7 and 1.2. For a step that is as good as 1, and it costs a few matrix products instead of a
    decomposition. Each iteration multiplies X by a polynomial of its Gram matrix, and these polynomials commute. So the
    iterations are taken on the Gram matrix, which is small, and X is multiplied once, by the product of all. That needs
    float32, since rounding to bfloat16 would grow to the size of the smallest eigenvalues. Entries below 1e-10 of the
    norm become 0. The momentum of units that get no gradient any more decays into them, their products are subnormal
    numbers, and these take a CPU fifty times as long.
    """
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if is_tall else matrices).float()
    x = F.hardshrink(x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7), NEGLIGIBLE)
    gram = x @ x.mT
    product = _polynomial(gram)
    step = product
    for _ in range(N_ITERATIONS - 1):
        gram = step @ gram @ step
        step = _polynomial(gram)
        product = step @ product
    x = product @ x
    return x.mT if is_tall else x


def _polynomial(gram: Tensor) -> Tensor:
    """Return A + B G + C G^2 of Gram matrices G, shape (n, rows, rows)."""
    result = torch.baddbmm(B * gram, gram, gram, alpha=C)
    result.diagonal(dim1=1, dim2=2).add_(A)
    return result
