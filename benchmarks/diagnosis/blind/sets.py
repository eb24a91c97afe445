"""The sets of the trial by name."""

from benchmarks.diagnosis.blind import first, second
from benchmarks.diagnosis.blind.cases import BlindSet

SETS = {
    "first": BlindSet("first", first.FAULTY, first.FINE, first.BY_COMMAND),
    "second": BlindSet("second", second.FAULTY, second.FINE, second.BY_COMMAND),
}
