"""The fourth set of the trial, written by someone who did not know the checks of the diagnosis."""

from benchmarks.diagnosis.blind.cases import BUILT
from benchmarks.diagnosis.blind.fourth.faulty_freia_zuko import FAULTY_FREIA_ZUKO
from benchmarks.diagnosis.blind.fourth.faulty_libraries import FAULTY_LIBRARIES
from benchmarks.diagnosis.blind.fourth.faulty_own import FAULTY_OWN
from benchmarks.diagnosis.blind.fourth.faulty_torch import FAULTY_TORCH
from benchmarks.diagnosis.blind.fourth.healthy_libraries import HEALTHY_LIBRARIES
from benchmarks.diagnosis.blind.fourth.healthy_own import HEALTHY_OWN
from benchmarks.diagnosis.blind.fourth.healthy_torch import HEALTHY_TORCH

FAULTY = {**FAULTY_TORCH, **FAULTY_LIBRARIES, **FAULTY_FREIA_ZUKO, **FAULTY_OWN}
FINE = {**HEALTHY_OWN, **HEALTHY_TORCH, **HEALTHY_LIBRARIES}
BY_COMMAND = dict.fromkeys(("channels_three", "normflows_stretch", "cosines_new"), BUILT)
