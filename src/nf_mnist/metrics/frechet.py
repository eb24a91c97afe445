"""The Frechet distance between Gaussians fitted to two sets of features."""

import torch
from torch import Tensor

from nf_mnist.errors import ShapeError


def frechet_distance(one: Tensor, other: Tensor) -> float:
    """Return the squared Frechet distance between Gaussians fitted to features (Heusel et al. 2017, section 2).

    The smaller the sets, the larger its upward bias. It also depends on the network that computes the features. Compare
    it only with the distance between two sets of data of the same sizes, by the same network.

    Args:
        one: Features of one set, shape (n, features).
        other: Features of the other set, shape (m, features).

    Raises:
        ShapeError: If a set has fewer than two members, which have no covariance.
    """
    if min(len(one), len(other)) < 2:
        raise ShapeError(f"a covariance needs two or more members, got sets of {len(one)} and {len(other)}")
    fits = [(features.double().mean(0), features.double().T.cov()) for features in (one, other)]
    return gaussian_frechet_distance(*fits[0], *fits[1])


def gaussian_frechet_distance(mean: Tensor, covariance: Tensor, other_mean: Tensor, other_covariance: Tensor) -> float:
    """Return the squared Frechet (2-Wasserstein) distance between two Gaussians (Dowson & Landau 1982).

    ``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))``. The eigenvalues of ``C1 C2`` are those of the symmetric ``M M'``
    with ``M = L1' L2`` and ``C = L L'``, so the trace of the root is the sum of the singular values of ``M``. Singular
    values of ``M`` keep all digits; square roots of the eigenvalues keep half of them.

    Args:
        mean: Mean of one Gaussian, shape (features,).
        covariance: Its covariance, shape (features, features); may be singular.
        other_mean: Mean of the other Gaussian.
        other_covariance: Covariance of the other Gaussian.
    """
    root_trace = torch.linalg.svdvals(_factor(covariance).T @ _factor(other_covariance)).sum()
    distance = (mean - other_mean).square().sum() + covariance.trace() + other_covariance.trace() - 2 * root_trace
    return distance.clamp(min=0).item()


def _factor(covariance: Tensor) -> Tensor:
    """Return L with L L' = covariance."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0).sqrt()
