"""The first set of the trial."""

from benchmarks.diagnosis.blind.cases import BUILT
from benchmarks.diagnosis.blind.first.faulty_libraries import FAULTY_LIBRARIES
from benchmarks.diagnosis.blind.first.faulty_own import FAULTY_OWN
from benchmarks.diagnosis.blind.first.faulty_torch import FAULTY_TORCH
from benchmarks.diagnosis.blind.first.healthy import HEALTHY, RELEASED
from benchmarks.diagnosis.blind.first.healthy_libraries import HEALTHY_LIBRARIES

FAULTY = {**FAULTY_OWN, **FAULTY_TORCH, **FAULTY_LIBRARIES}
FINE = {**HEALTHY, **HEALTHY_LIBRARIES}
BY_COMMAND = {
    "leaky_relu_wrong_side": BUILT,
    "bins_not_normalised": BUILT,
    "mask_inverted_in_inverse": BUILT,
    "margins_of_logit_differ": BUILT,
    "normflows_glow": BUILT,
    **{name: f"ckpt=pretrained:{weights}" for name, weights in RELEASED.items()},
}
