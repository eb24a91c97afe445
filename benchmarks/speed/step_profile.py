"""Where does the time of a step go, and does compiling pay? ``python -m benchmarks.speed.step_profile [--repeats 5]``.

Takes training steps of each model as the train command does, eager and with ``model.compile=true``, in processes that
take turns. The profiler separates convolutions and matrix products, whose number of operations is given, from all other
operations. Compiling starts with empty caches. The result also says after how many steps compiling has paid.
"""

import argparse
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd import DeviceType
from torch.autograd.profiler_util import EventList
from torch.profiler import profile, record_function

from benchmarks.measuring import (
    Child,
    Metrics,
    default_device,
    machine,
    seconds_per_call,
    serve,
    shipped_configuration,
    spread,
    training_step,
)
from nf_mnist.app.building import build_module
from nf_mnist.checkpoints.writing import write_json

RESULT = Path(__file__).parents[2] / "results" / "step_profile.json"
MODELS = ("resflow", "hierarchical")
PRODUCTS = re.compile(r"^(aten|mkldnn|mkl|inductor)::.*(conv|mm|linear|matmul)")
N_SHOWN = 8
N_WARM = 8  # steps, after which no more memory is allocated


def answers(overrides: list[str], n_steps: int) -> Iterator[Metrics]:
    """Yield the profile and the time of the first steps, then the seconds of one step after another."""
    step = training_step(overrides)
    begin = time.perf_counter()
    step()
    step()
    first = time.perf_counter() - begin
    yield {"seconds_of_two_first_steps": first, **shares(step, n_steps)}
    while True:
        yield {"seconds": seconds_per_call(step, n_steps, default_device())}


def shares(step: Callable[[], None], n_steps: int) -> Metrics:
    """Profile steps one by one; return the shares of each kind of operation in the time of the median step.

    On a CPU, shares are of the time from the beginning to the end of a step, Python included; on a GPU, of the time in
    which it computes. Some steps are slowed down by the profiler's own memory, because the system has to clear new
    pages, so the step of median length is taken.
    """
    for _ in range(N_WARM):
        step()
    profiled = []
    for _ in range(2 * n_steps + 1):
        with profile() as profiler, record_function("step"):
            step()
        profiled.append(profiler.key_averages())
    events = sorted(profiled, key=_length)[n_steps]
    if default_device().type == "cuda":
        kernels = [event for event in events if event.device_type == DeviceType.CUDA and not event.is_user_annotation]
        own = {event.key: event.self_device_time_total for event in kernels}
        total = sum(own.values())
        pattern = re.compile("conv|gemm|cutlass|cudnn|xmma")
    else:
        own = {event.key: event.self_cpu_time_total for event in events}
        total = _length(events)
        pattern = PRODUCTS
    of_products = sum(time for name, time in own.items() if pattern.search(name)) / total
    others = sorted(((time / total, name) for name, time in own.items() if not pattern.search(name)), reverse=True)
    optimizer = sum(event.cpu_time_total for event in events if event.key.startswith("Optimizer.step"))
    return {
        "share_outside_products": 1 - of_products,
        "share_of_optimizer": optimizer / _length(events),
        "largest_others": {name: share for share, name in others[:N_SHOWN]},
    }


def _length(events: EventList) -> float:
    return sum(event.cpu_time_total for event in events if event.key == "step")


def compare(models: list[str], repeats: int, n_steps: int) -> dict[str, Metrics]:
    """Return metrics of each model, eager and compiled, and the number of steps after which compiling has paid."""
    environment = {"TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
    rows = {}
    for model in models:
        commands = {
            name: [
                "-m",
                "benchmarks.speed.step_profile",
                "--child",
                f"model={model}",
                f"model.compile={name == 'compiled'}",
                "--steps",
                str(n_steps),
            ]
            for name in ("eager", "compiled")
        }
        children = {name: Child(command, environment) for name, command in commands.items()}
        row: Metrics = {name: child.ask() for name, child in children.items()}
        found = [{name: child.ask()["seconds"] for name, child in children.items()} for _ in range(repeats)]
        for name, child in children.items():
            child.end()
            row[name]["seconds_per_step"] = spread([repeat[name] for repeat in found])
        rows[model] = {**row, **break_even(row)}
        print(f"{model}: {row['eager']['share_outside_products']:.0%} outside products, {rows[model]}", flush=True)
    return rows


def optimizer_milliseconds(repeats: int) -> dict[str, Metrics]:
    """Return milliseconds of a step of Adam on the shipped flow's parameters, for each of torch's implementations."""
    parameters = shipped_parameters()
    adams = {
        "loop": torch.optim.Adam(parameters, lr=0.0, foreach=False),
        "foreach": torch.optim.Adam(parameters, lr=0.0, foreach=True),
        "fused": torch.optim.Adam(parameters, lr=0.0, fused=True),
    }
    for adam in adams.values():
        adam.step()
    found = [
        {name: 1e3 * seconds_per_call(adam.step, 5, default_device()) for name, adam in adams.items()}
        for _ in range(repeats)
    ]
    return {name: spread([each[name] for each in found]) for name in adams}


def shipped_parameters() -> list[Tensor]:
    """Return parameters shaped like the shipped flow's, with random gradients."""
    module = build_module(shipped_configuration([])).to(default_device())
    for parameter in module.parameters():
        parameter.grad = torch.randn_like(parameter)
    return list(module.parameters())


def break_even(row: Metrics) -> Metrics:
    """Return the seconds that compiling takes, and the steps after which they are regained (None if never)."""
    eager, compiled = (row[name]["seconds_per_step"]["median"] for name in ("eager", "compiled"))
    first = {name: row[name]["seconds_of_two_first_steps"] for name in ("eager", "compiled")}
    seconds = (first["compiled"] - 2 * compiled) - (first["eager"] - 2 * eager)
    gained = eager - compiled
    return {"compile_seconds": seconds, "break_even_steps": round(seconds / gained) if gained > 0 else None}


def main() -> None:
    """Serve one model (as a child process), or profile all and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", nargs="+")
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    if options.child:
        serve(answers(options.child, options.steps))
        return
    rows = compare(options.models, options.repeats, options.steps)
    write_json(options.out, {**machine(), "models": rows, "adam_milliseconds": optimizer_milliseconds(options.repeats)})


if __name__ == "__main__":
    main()
