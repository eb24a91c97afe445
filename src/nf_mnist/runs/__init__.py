"""The record of a run, its lock, how it is repeated, and sweeps of many."""
