"""All checks in the order in which they run: a check comes after those that it needs.

A check is a function under :func:`~nf_mnist.diagnostics.base.check` in one of the files imported here, and stands in
the tuple at the end of its file. The data come first, since the inverse is checked on pixels in the unit interval.
"""

from nf_mnist.diagnostics.collapse_checks import COLLAPSE
from nf_mnist.diagnostics.contract_checks import CONTRACT
from nf_mnist.diagnostics.data_checks import DATA
from nf_mnist.diagnostics.density_checks import DENSITY
from nf_mnist.diagnostics.direction_checks import DIRECTIONS
from nf_mnist.diagnostics.fit_checks import FIT
from nf_mnist.diagnostics.gradient_checks import GRADIENTS
from nf_mnist.diagnostics.latent_checks import LATENT
from nf_mnist.diagnostics.map_checks import MAP
from nf_mnist.diagnostics.number_checks import NUMBERS
from nf_mnist.diagnostics.pair_checks import PAIRS
from nf_mnist.diagnostics.sameness_checks import SAMENESS
from nf_mnist.diagnostics.sample_checks import SAMPLES
from nf_mnist.diagnostics.scale_checks import SCALES
from nf_mnist.diagnostics.structure_checks import STRUCTURE
from nf_mnist.diagnostics.weight_checks import WEIGHTS

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
    *SAMPLES,
    *PAIRS,
    *DENSITY,
    *LATENT,
)
