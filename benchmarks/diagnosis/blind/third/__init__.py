"""The third set of the trial, written by someone who did not know the checks of the diagnosis."""

from benchmarks.diagnosis.blind.cases import BUILT
from benchmarks.diagnosis.blind.third.faulty_freia_zuko import FAULTY_FREIA_ZUKO
from benchmarks.diagnosis.blind.third.faulty_libraries import FAULTY_LIBRARIES
from benchmarks.diagnosis.blind.third.faulty_own import FAULTY_OWN
from benchmarks.diagnosis.blind.third.faulty_torch import FAULTY_TORCH
from benchmarks.diagnosis.blind.third.faulty_training import FAULTY_TRAINING
from benchmarks.diagnosis.blind.third.healthy_libraries import HEALTHY_LIBRARIES
from benchmarks.diagnosis.blind.third.healthy_own import HEALTHY_OWN
from benchmarks.diagnosis.blind.third.healthy_torch import HEALTHY_TORCH

FAULTY = {**FAULTY_TORCH, **FAULTY_LIBRARIES, **FAULTY_FREIA_ZUKO, **FAULTY_OWN, **FAULTY_TRAINING}
FINE = {**HEALTHY_OWN, **HEALTHY_TORCH, **HEALTHY_LIBRARIES}
BY_COMMAND = dict.fromkeys(
    ("squeezed_short", "nflows_composite", "freia_volume", "woodbury", "zuko_polynomials"),
    BUILT,
)
