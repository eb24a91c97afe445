"""The cases of the simulated GPU on the real one: devices do not mix, and no training step waits for the card."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.gpu.parts import Plan, Rows

ROOT = Path(__file__).parents[2]
CASES = "tests/support/real_gpu_cases.py"
REHEARSED = "glow and second"  # cases in a rehearsal, as pytest chooses them


def rows(plan: Plan) -> Rows:
    """Yield each case with its outcome, its seconds, and the first line of its error."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", CASES]
        environment = {**os.environ, "NF_MNIST_CASES_DEVICE": plan.device}
        options = ["-k", REHEARSED] if plan.rehearse else []
        done = subprocess.run([*command, *options], cwd=ROOT, env=environment, capture_output=True, text=True)
        if not report.exists():
            raise RuntimeError((done.stderr or done.stdout).strip().splitlines()[-1])
        for case in ElementTree.parse(report).iter("testcase"):
            problem = next((case.find(kind) for kind in ("failure", "error") if case.find(kind) is not None), None)
            error = None if problem is None else problem.get("message", "").strip().splitlines()[0]
            yield case.get("name", ""), {"seconds": float(case.get("time", "nan")), "error": error}
