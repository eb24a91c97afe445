"""Commands as processes: signals at any moment, and output streams that are closed or that nobody reads."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.support.helpers import tiny_overrides, write_images

STOPS = [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP]


def started(code: str, *, shell: str = "") -> subprocess.CompletedProcess:
    """Run code in a process that says to be the command ``nf_mnist.train``; ``shell`` redirects its streams."""
    text = f"import os, signal, sys\nsys.argv[0] = '/bin/nf_mnist.train'\n{textwrap.dedent(code)}"
    command = ["bash", "-c", f'"$0" -c "$1" {shell}', sys.executable, text]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("number", [*STOPS, signal.SIGINT])
def test_signals_are_handled_before_anything_slow_is_imported(number):
    default = "signal.default_int_handler" if number == signal.SIGINT else "signal.SIG_DFL"  # nohup ignores SIGHUP
    code = f"signal.signal({int(number)}, {default})\nimport nf_mnist"
    ended = started(f"{code}\nos.kill(os.getpid(), {int(number)})\nassert 'torch' not in sys.modules")
    assert ended.returncode == (130 if number == signal.SIGINT else 143)
    assert (ended.stdout, ended.stderr) == ("", f"stopped by {number.name}\n")


def test_signals_that_are_ignored_stay_ignored():
    ended = started(f"signal.signal({int(signal.SIGHUP)}, signal.SIG_IGN)\nimport nf_mnist\nos.kill(os.getpid(), 1)")
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_library_sets_no_handlers_and_leaves_streams_alone():
    code = "import signal, sys, nf_mnist; assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL"
    subprocess.run([sys.executable, "-c", f"{code}; assert sys.stdout is sys.__stdout__"], check=True)


@pytest.mark.parametrize("shell", ["2>&-", ">&-", "<&- >&- 2>&-", "| true", "> /dev/full 2> /dev/full"])
def test_lost_output_ends_nothing(shell, tmp_path):
    code = f"""
        import time
        import nf_mnist
        time.sleep(0.3)
        for stream in (sys.stdout, sys.stderr):
            stream.isatty()
            for _ in range(3):
                print("x" * 10_000, file=stream, flush=True)
        open({str(tmp_path / "result")!r}, "w").write(f"written to {{os.open(os.devnull, os.O_RDONLY) > 2}}")
    """
    ended = started(code, shell=shell)
    assert (ended.returncode, (tmp_path / "result").read_text()) == (0, "written to True"), ended.stderr
    assert "Error" not in ended.stderr


KILLER = """
import os, runpy, sys
sys.argv[0] = "/bin/nf_mnist.train"
from nf_mnist.runs import training_run
def kill(*arguments):
    os.kill(os.getpid(), {number})
training_run.{function} = kill
runpy.run_module("nf_mnist.train", run_name="__main__", alter_sys=False)
"""


@pytest.mark.slow
@pytest.mark.parametrize("function", ["build_datamodule", "evaluate_task"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_run_that_is_stopped_outside_its_training_says_so(function, number, tmp_path):
    base = [*tiny_overrides(write_images(tmp_path / "images.npz"), tmp_path / "run"), "trainer.max_steps=1"]
    code = KILLER.format(function=function, number=int(number))
    ended = subprocess.run([sys.executable, "-c", code, *base], capture_output=True, text=True, check=False)
    assert ended.returncode == 143, ended.stderr
    assert ended.stderr.splitlines()[-1] == f"stopped by {number.name}"
    assert "Traceback" not in ended.stderr
    record: Path = tmp_path / "run" / "run.json"
    assert not record.exists() or '"interrupted"' in record.read_text()
