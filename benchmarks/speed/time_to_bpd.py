"""Bits per dimension of test images after minutes of training: ``python -m benchmarks.speed.time_to_bpd``.

Our models have a run for each mark, whose schedule of the learning rate ends there. Those of other libraries have one
run with a constant rate, which is measured at each mark: the same images, and a clock that counts training only. Rows
that ``results/time_to_bpd.json`` has already, for the same number of threads, are not measured again. ``--marks 1 4``
are minutes, ``--models NAME`` selects models, ``--threads 1`` sets the threads, and ``--test-images 100`` rehearses.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import Child, add_row, machine, rows_of, serve, time_budget
from benchmarks.speed.documented_peers import PEERS, Peer, bits
from nf_mnist.data import Images, UniformDequantizer, draw_noise, evaluation_noise, mnist, random_subset, split
from nf_mnist.metrics import count_parameters

RESULT = Path(__file__).parents[2] / "results" / "time_to_bpd.json"
MARKS = (1.0, 4.0, 15.0, 60.0)
RECIPE = ["data.batch_size=64", "trainer.gradient_clip_val=200", "trainer.val_check_interval=200"]
OURS = {
    "hierarchical": ["experiment=hierarchical_1h", "model.flow.level_prior=resampled"],
    "glow": ["model=glow", *RECIPE],
    "realnvp": ["model=realnvp", *RECIPE],
    "realnvp_gaussianize": ["model=realnvp", "model.preprocess=gaussianize", *RECIPE],
    "uva_multiscale": ["model=uva_multiscale", *RECIPE],
}
N_TEST = 10_000
EVALUATION_BATCH = 250


def measure_ours(name: str, minutes: float, n_test: int, threads: int) -> dict[str, Any]:
    """Train one of our models for some minutes; return its row."""
    with tempfile.TemporaryDirectory() as folder:
        given = [*OURS[name], time_budget(minutes), "trainer.max_epochs=-1", "trainer.limit_val_batches=2"]
        given += ["logger.tensorboard=null", f"output_dir={folder}", "evaluation.split=test", "evaluation.n_draws=1"]
        given += [f"evaluation.n_images={n_test}", *(f"callbacks.{view}=null" for view in ("samples", "inpainting"))]
        environment = {**os.environ, **_threads(threads)}
        subprocess.run([sys.executable, "-m", "nf_mnist.train", *given], check=True, env=environment)
        metrics, record = (json.loads(Path(folder, f"{file}.json").read_text()) for file in ("metrics", "run"))
    kept = {key: metrics[key] for key in ("bpd", "parameters", "n_images")}
    return {**kept, "seconds": metrics["training_seconds"], "fewest_threads": record["fewest_threads"]}


def measure_peer(name: str, marks: Sequence[float], n_test: int, threads: int) -> Iterator[dict[str, Any]]:
    """Train a flow of another library until the last mark; yield its row at each mark."""
    module = "benchmarks.speed.time_to_bpd"
    arguments = ["--peer", name, "--marks", *map(str, marks), "--test-images", str(n_test)]
    child = Child(["-m", module, *arguments], _threads(threads))
    for _ in marks:
        yield child.ask()
    child.end()


def _threads(n: int) -> dict[str, str]:
    return {"OMP_NUM_THREADS": str(n)}


def train_peer(name: str, marks: Sequence[float], n_test: int) -> Iterator[dict[str, Any]]:
    """Train a flow of another library in this process; yield its row at each mark, in minutes of training."""
    torch.manual_seed(0)
    images, test = mnist()
    _, train = split(images, 10_000, 0)
    test, index = random_subset(test, n_test, 0)
    first = train.levels[:10_000]
    peer = PEERS[name](UniformDequantizer()(first, draw_noise(first))[0])
    seconds, batches = 0.0, _batches(train, peer.batch_size)
    for minutes in sorted(marks):
        while seconds < 60 * minutes:
            begin = time.monotonic()
            _step(peer, next(batches))
            seconds += time.monotonic() - begin
        yield {
            "bpd": test_bits(peer, test, index),
            "parameters": count_parameters(peer.flow),
            "n_images": len(index),
            "seconds": seconds,
        }


def _batches(train: Images, batch_size: int) -> Iterator[torch.Tensor]:
    for _ in itertools.count():
        order = torch.randperm(len(train.levels))
        yield from (train.levels[rows] for rows in order.split(batch_size) if len(rows) == batch_size)


def _step(peer: Peer, levels: torch.Tensor) -> None:
    """Take a training step as the notebooks do; normflows' skips one whose loss is not finite."""
    peer.flow.train()
    x, _ = UniformDequantizer()(levels, draw_noise(levels))
    loss = peer.nll(x).mean()
    peer.optimizer.zero_grad()
    if loss.isfinite():
        loss.backward()
        peer.optimizer.step()


@torch.no_grad()
def test_bits(peer: Peer, test: Images, index: torch.Tensor) -> float:
    """Return the mean bits per dimension of test images, with the noise that our evaluation draws."""
    peer.flow.eval()
    found = []
    for levels, rows in zip(test.levels.split(EVALUATION_BATCH), index.split(EVALUATION_BATCH), strict=True):
        x, _ = UniformDequantizer()(levels, evaluation_noise(rows, levels.shape[1:], 0, 0))
        found.append(bits(peer.nll(x)))
    return torch.cat(found).double().mean().item()


def main() -> None:
    """Train one peer (as a child process), or measure the missing rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--marks", type=float, nargs="+", default=MARKS)
    parser.add_argument("--models", nargs="+", choices=[*OURS, *PEERS], default=[*OURS, *PEERS])
    parser.add_argument("--peer", choices=PEERS)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--test-images", type=int, default=N_TEST)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    if options.peer:
        serve(train_peer(options.peer, options.marks, options.test_images))
        return
    for name in options.models:
        missing = [mark for mark in sorted(options.marks) if not _is_there(name, mark, options)]
        if not missing:
            continue
        if name in OURS:
            rows: Iterator[Any] = (measure_ours(name, mark, options.test_images, options.threads) for mark in missing)
        else:
            rows = measure_peer(name, missing, options.test_images, options.threads)
        for mark, row in zip(missing, rows, strict=True):
            row = {"model": name, "minutes": mark, "threads": options.threads, **machine(), **row}
            add_row(options.out, _key(name, mark), row)
            print(f"{_key(name, mark)}: {row['bpd']:.3f} bpd", flush=True)


def _key(name: str, mark: float) -> str:
    return f"{name}, {mark:g} min"


def _is_there(name: str, mark: float, options: argparse.Namespace) -> bool:
    there = rows_of(options.out).get(_key(name, mark), {})
    return (there.get("threads"), there.get("n_images")) == (options.threads, options.test_images)


if __name__ == "__main__":
    main()
