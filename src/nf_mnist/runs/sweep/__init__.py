"""Sweeps that survive interruptions: a locked folder, a process for each run, and only missing runs made again.

Hydra composes the configurations, launches the jobs and searches; this package adds what Hydra leaves open.
"""

from nf_mnist.runs.record import run_records
from nf_mnist.runs.sweep.folder import SweepFolder
from nf_mnist.runs.sweep.job import run_job
from nf_mnist.runs.sweep.names import run_name

__all__ = ["SweepFolder", "run_job", "run_name", "run_records"]
