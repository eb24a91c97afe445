"""Sweeps that survive: a stable folder with a lock, a process for each run, and only what is missing done again.

Hydra composes, launches and searches; here is what it leaves open.
"""

from nf_mnist.runs.sweep.folder import SweepFolder, run_records
from nf_mnist.runs.sweep.job import run_job
from nf_mnist.runs.sweep.names import run_name

__all__ = ["SweepFolder", "run_job", "run_name", "run_records"]
