"""On a simulated GPU no operation mixes devices, and from the second training step on the CPU waits for nothing.

The simulated device stays registered in its process and is then torch's accelerator, so the cases run in another one.
"""

import subprocess
import sys

import pytest

FEW = "devices or samples or recorded or ema_clipped or gaussianize"


def run_cases(chosen: str) -> None:
    options = ["-q", "-p", "no:cacheprovider", "--tb=short", "-k", chosen]
    command = [sys.executable, "-m", "pytest", *options, "tests/support/simulated_gpu_cases.py"]
    done = subprocess.run(command, capture_output=True, text=True)
    if "skipped" in done.stdout.splitlines()[-1]:
        pytest.skip(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


def test_few_cases():
    run_cases(FEW)


@pytest.mark.slow
def test_all_other_cases():
    run_cases(f"not ({FEW})")
