"""Train the flows of a blind set and diagnose each once: ``python -m benchmarks.diagnosis.blind.run SET [NAME ...]``.

Each flow has a process of its own. Flows that have a log already are left out, so that several commands can share the
work. At the end ``results/blind_diagnosis.json`` is brought up to date with the flows that have an answer. FrEIA is
needed (``pip install FrEIA --no-deps``).
"""

import argparse
import json
import os
import runpy
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

import nf_mnist
import nf_mnist.diagnostics
from benchmarks.diagnosis.blind.cases import BlindSet, shown_plainly
from benchmarks.diagnosis.blind.collecting import collect
from benchmarks.diagnosis.blind.sets import SETS
from benchmarks.diagnosis.blind.weights import fit, load
from nf_mnist.app import notebook

N_IMAGES = 100
CHECK_SECONDS = float(os.environ.get("BLIND_CHECK_SECONDS", "60"))


def diagnose(blind: BlindSet, name: str) -> dict[str, Any]:
    """Return the answer, the violations and the times of one diagnosis."""
    times: list[tuple[str, float, float]] = []
    plain = nf_mnist.diagnostics.diagnose

    def timed(*args: Any, **kwargs: Any) -> Iterator[Any]:
        began = time.monotonic(), time.process_time()
        for result in plain(*args, **kwargs):
            now = time.monotonic(), time.process_time()
            times.append((result.check, now[0] - began[0], now[1] - began[1]))
            yield result
            began = now

    nf_mnist.diagnostics.diagnose = notebook.diagnose = timed
    began = time.monotonic(), time.process_time()
    answer, results = _command(blind, name) if name in blind.by_command else _call(blind, name)
    seconds, cpu_seconds = time.monotonic() - began[0], time.process_time() - began[1]
    longest = max(times, key=lambda row: row[2], default=("", 0.0, 0.0))
    return {
        "answer": answer,
        "violations": [
            {key: result[key] for key in ("check", "status", "measured", "cause", "remedy", "is_shown", "is_usual")}
            for result in results
            if result["status"] in ("fail", "warn")
        ],
        "passed": sum(result["status"] == "pass" for result in results),
        "skipped": sum(result["status"] == "skip" for result in results),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "longest_check": longest[0],
        "longest_check_cpu_seconds": longest[2],
    }


def _call(blind: BlindSet, name: str) -> tuple[str, list[dict[str, Any]]]:
    levels, train, labels = (blind.cases[name].shown or shown_plainly)()
    found = nf_mnist.diagnose(
        load(blind, name), levels, train=train, labels=labels, n_images=N_IMAGES, check_seconds=CHECK_SECONDS
    )
    return found.answer, [result._asdict() for result in found.results]


def _command(blind: BlindSet, name: str) -> tuple[str, list[dict[str, Any]]]:
    out = blind.folder / "reports" / name
    os.environ["BLIND_FLOW"] = f"{blind.name}/{name}"
    settings = [f"n_images={N_IMAGES}", f"check_seconds={CHECK_SECONDS}", "trust=[benchmarks]", f"out={out}"]
    sys.argv = ["diagnose", blind.by_command[name], *settings]
    printed = blind.folder / f"{name}.txt"
    sys.stdout = printed.open("w")
    try:
        runpy.run_module("nf_mnist.diagnose", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code:  # the command refuses, as it does if the report is there already
            raise
    finally:
        sys.stdout.close()
        sys.stdout = sys.__stdout__
    return printed.read_text().partition("\n┏")[0], json.loads((out / "report.json").read_text())["results"]


def apart(work: Callable[[], None], log: Path) -> int:
    """Do something in a process of its own, whose output goes to a file; return its exit status."""
    with log.open("x") as file:
        if child := os.fork():
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.dup2(file.fileno(), 2)
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
            status = 1
        os._exit(status)


def main() -> None:
    """Diagnose all flows of a set, or those named, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("set", choices=SETS)
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    blind = SETS[given.set]
    torch.set_num_threads(1)
    blind.folder.mkdir(parents=True, exist_ok=True)
    for name in given.names or blind.cases:
        if (log := blind.folder / f"{name}.log").exists():
            continue

        def work(name: str = name) -> None:
            fit(blind, name)
            blind.answer_file(name).write_text(json.dumps(diagnose(blind, name), indent=1))

        try:
            status = apart(work, log)
        except FileExistsError:  # another process was faster
            continue
        print(time.strftime("%H:%M:%S"), name, status, flush=True)
    collect(blind)


if __name__ == "__main__":
    main()
