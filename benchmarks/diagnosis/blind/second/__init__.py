"""The second set of the trial."""

from benchmarks.diagnosis.blind.cases import BUILT
from benchmarks.diagnosis.blind.second.faulty_data import FAULTY_DATA
from benchmarks.diagnosis.blind.second.faulty_glow import FAULTY_GLOW
from benchmarks.diagnosis.blind.second.faulty_libraries import FAULTY_LIBRARIES
from benchmarks.diagnosis.blind.second.faulty_training import FAULTY_TRAINING
from benchmarks.diagnosis.blind.second.faulty_vectors import FAULTY_VECTORS
from benchmarks.diagnosis.blind.second.healthy_libraries import HEALTHY_LIBRARIES
from benchmarks.diagnosis.blind.second.healthy_own import HEALTHY_OWN
from benchmarks.diagnosis.blind.second.healthy_torch import HEALTHY_TORCH

FAULTY = {**FAULTY_GLOW, **FAULTY_VECTORS, **FAULTY_TRAINING, **FAULTY_DATA, **FAULTY_LIBRARIES}
FINE = {**HEALTHY_TORCH, **HEALTHY_OWN, **HEALTHY_LIBRARIES}
BY_COMMAND = {
    "mixing_of_one_pixel": BUILT,
    "hook_shrinks_outputs": BUILT,
    "made_sees_itself": BUILT,
    "torch_splines": BUILT,
    "zuko_maf": BUILT,
}
