"""All laws, in the order in which they are asked: what later ones rest on comes first.

A law is one function under ``@law(...)`` in one of the files imported here, each of which imports the one before it:
the data, the map, its numbers, the density, the latents.
"""

from nf_mnist.diagnostics import data_checks, density_checks, latent_checks, map_checks, number_checks  # noqa: F401
from nf_mnist.diagnostics.check import CHECKS

__all__ = ["CHECKS"]
