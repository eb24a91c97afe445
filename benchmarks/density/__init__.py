"""Benchmarks of likelihood: how models compare, where their bits are, and whether these are true."""
