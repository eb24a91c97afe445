"""Training runs: one run, its record and its lock, how it is resumed or repeated, and sweeps of many."""
