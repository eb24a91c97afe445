"""The fifth set of the trial, written by someone who did not know the checks of the diagnosis."""

from benchmarks.diagnosis.blind.cases import BUILT
from benchmarks.diagnosis.blind.fifth.faulty_libraries import FAULTY_LIBRARIES
from benchmarks.diagnosis.blind.fifth.faulty_own import FAULTY_OWN
from benchmarks.diagnosis.blind.fifth.faulty_procedures import FAULTY_PROCEDURES
from benchmarks.diagnosis.blind.fifth.faulty_torch import FAULTY_TORCH
from benchmarks.diagnosis.blind.fifth.healthy_libraries import HEALTHY_LIBRARIES
from benchmarks.diagnosis.blind.fifth.healthy_own import HEALTHY_OWN
from benchmarks.diagnosis.blind.fifth.healthy_torch import HEALTHY_TORCH

FAULTY = {**FAULTY_TORCH, **FAULTY_OWN, **FAULTY_LIBRARIES, **FAULTY_PROCEDURES}
FINE = {**HEALTHY_TORCH, **HEALTHY_OWN, **HEALTHY_LIBRARIES}
BY_COMMAND = dict.fromkeys(("triangles_two", "nflows_shifts", "freia_sides"), BUILT)
