"""All checks in the order in which they run: a check comes after those that it needs.

A check is a function under :func:`~nf_mnist.diagnostics.base.check` in one of the files imported here, and stands in
the tuple at the end of its file. The data come first, since the inverse is checked on pixels in the unit interval.
"""

from nf_mnist.diagnostics.checks.collapse import COLLAPSE
from nf_mnist.diagnostics.checks.contract import CONTRACT
from nf_mnist.diagnostics.checks.data import DATA
from nf_mnist.diagnostics.checks.density import DENSITY
from nf_mnist.diagnostics.checks.directions import DIRECTIONS
from nf_mnist.diagnostics.checks.fit import FIT
from nf_mnist.diagnostics.checks.gradients import GRADIENTS
from nf_mnist.diagnostics.checks.latents import LATENT
from nf_mnist.diagnostics.checks.map import MAP
from nf_mnist.diagnostics.checks.numbers import NUMBERS
from nf_mnist.diagnostics.checks.pairs import PAIRS
from nf_mnist.diagnostics.checks.sameness import SAMENESS
from nf_mnist.diagnostics.checks.samples import SAMPLES
from nf_mnist.diagnostics.checks.scales import SCALES
from nf_mnist.diagnostics.checks.stretch import STRETCH
from nf_mnist.diagnostics.checks.structure import STRUCTURE
from nf_mnist.diagnostics.checks.weights import WEIGHTS

CHECKS = (
    *DATA,
    *SAMENESS,
    *WEIGHTS,
    *DIRECTIONS,
    *CONTRACT,
    *MAP,
    *GRADIENTS,
    *FIT,
    *COLLAPSE,
    *STRUCTURE,
    *NUMBERS,
    *SCALES,
    *STRETCH,
    *SAMPLES,
    *PAIRS,
    *DENSITY,
    *LATENT,
)
