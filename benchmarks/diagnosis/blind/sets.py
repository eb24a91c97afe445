"""The sets of the trial by name."""

from benchmarks.diagnosis.blind import fifth, first, fourth, second, third
from benchmarks.diagnosis.blind.cases import BlindSet

SETS = {
    "first": BlindSet("first", first.FAULTY, first.FINE, first.BY_COMMAND),
    "second": BlindSet("second", second.FAULTY, second.FINE, second.BY_COMMAND),
    "third": BlindSet("third", third.FAULTY, third.FINE, third.BY_COMMAND),
    "fourth": BlindSet("fourth", fourth.FAULTY, fourth.FINE, fourth.BY_COMMAND),
    "fifth": BlindSet("fifth", fifth.FAULTY, fifth.FINE, fifth.BY_COMMAND),
}
