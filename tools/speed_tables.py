"""Tables of speeds, from ``results/``."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from tools.from_results import read_result, table

OURS = "nf_mnist"
SPEEDS = {"training": "training images/s", "log_prob": "densities/s", "samples": "samples/s"}


def speed_machine() -> str:
    """Return a description of the machine on which the libraries were compared."""
    return _machine_of(read_result("peers"))


def speed_ratios() -> str:
    """Return how much faster we train than the fastest other library: medians and ranges over repeats."""
    return _ratios_of(read_result("peers"))


def peers() -> str:
    """Return the speed, memory and errors of every library at each setting."""
    return _peers_of(read_result("peers"))


def peer_families() -> str:
    """Return the same three for residual, autoregressive and continuous flows, which were compared on their own."""
    found = read_result("peer_families")
    return "\n\n".join((_machine_of(found), _ratios_of(found), _peers_of(found)))


def _machine_of(found: dict[str, Any]) -> str:
    """Return a description of the machines and settings of the rows, each once, with the architectures of each."""
    names: dict[str, list[str]] = {}
    for name, row in found["rows"].items():
        repeats = row["libraries"][OURS]["shipped"]["training"]["repeats"]
        said = (
            f"{row['cpu']}; {row['hardware']}; Python {row['python']}. Batches of {row['batch_size']} images, and "
            f"{row['samples']} samples; medians, and in brackets the range, of {len(repeats)} repeats of "
            f"{row['steps']} calls each."
        )
        names.setdefault(said, []).append(f"`{name}`")
    if len(names) == 1:
        return next(iter(names))
    return "\n\n".join(f"{', '.join(of_machine)}: {said}" for said, of_machine in names.items())


def _ratios_of(found: dict[str, Any]) -> str:
    columns = ("architecture", "ours shipped / theirs as run", "ours shipped / theirs best", "ours best / theirs best")
    best = ("shipped", "tuned", "compiled")
    pairs = ((best[:1], best[:1]), (best[:1], best), (best, best))
    rows = [(f"`{name}`", *(_ratio(row["libraries"], *pair) for pair in pairs)) for name, row in found["rows"].items()]
    return table(columns, rows)


def _peers_of(found: dict[str, Any]) -> str:
    columns = ("architecture", "library", "settings", "parameters", *SPEEDS.values(), "peak MiB", "round-trip error")
    rows = []
    for architecture, library, setting, metrics in _variants(found):
        said = "as users run it" if setting == "shipped" and library != OURS else setting
        if setting == "compiled" and not metrics["compiled"]:
            said = "cannot be compiled"
        rows.append(
            (
                f"`{architecture}`",
                f"**{library}**" if library == OURS else library,
                said,
                f"{metrics['parameters']:,}",
                *(_spread(metrics[name], 0) for name in SPEEDS),
                f"{metrics['mebibytes']:,.0f}",
                f"{metrics['round_trip_error']:.0e}",
            )
        )
    return table(columns, rows)


def throughput() -> str:
    """Return the training speed of the full-size ``resflow``, in float32 and as shipped."""
    found = read_result("training_throughput")
    rows = [(name, _spread_of(speeds, 0)) for name, speeds in found["images_per_second"].items()]
    ratio = f"Shipped over plain, pair by pair: {_spread_of(found['ratios'], 2)} on {found['hardware']}."
    return f"{table(('settings', 'images/s'), rows)}\n\n{ratio}"


def data_path() -> str:
    """Return images per second into the model, ours and torchvision's."""
    found = read_result("data_path")
    rows = [(name, _spread(speeds, 0)) for name, speeds in found["images_per_second"].items()]
    return f"{table(('path', 'images/s'), rows)}\n\nOurs over the fastest other: {_spread(found['ratio'], 1)}."


def step_profile() -> str:
    """Return where the time of a training step goes, and the number of steps after which compiling has paid."""
    columns = ("model", "outside products", "largest of it", "optimizer", "s per step", "compile s", "break-even step")
    rows = []
    for model, row in read_result("step_profile")["models"].items():
        for kind in ("eager", "compiled"):
            metrics = row[kind]
            others = [f"{name} {share:.0%}" for name, share in list(metrics["largest_others"].items())[:4]]
            steps = "never" if row["break_even_steps"] is None else f"{row['break_even_steps']:,}"
            rows.append(
                (
                    f"`{model}`, {kind}",
                    f"{metrics['share_outside_products']:.0%}",
                    ", ".join(others),
                    f"{metrics['share_of_optimizer']:.0%}",
                    _spread(metrics["seconds_per_step"], 3),
                    f"{row['compile_seconds']:.0f}" if kind == "compiled" else "",
                    steps if kind == "compiled" else "",
                )
            )
    return table(columns, rows)


def adam() -> str:
    """Return the time of a step of Adam, for each of torch's implementations."""
    found = read_result("step_profile")["adam_milliseconds"]
    return table(
        ("Adam", "ms on the parameters of `resflow`"), [(name, _spread(row, 1)) for name, row in found.items()]
    )


def muon_iterations() -> str:
    """Return the time of Muon's iterations on matrices, and on their Gram matrices."""
    found = read_result("muon_iterations")["models"]
    ways = ("float32", "bfloat16", "Gram matrix")
    rows = [
        (f"`{name}`", str(row["n_matrices"]), *(_spread(row["milliseconds"][way], 0) for way in ways))
        for name, row in found.items()
    ]
    columns = (
        "model or experiment",
        "matrices",
        "ms in float32",
        "ms in bfloat16",
        "ms on the Gram matrix, in float32",
    )
    return table(columns, rows)


def logging_cost() -> str:
    """Return the cost of logging, and of pictures and checks at validations."""
    found = read_result("logging_cost")
    rows = [
        (
            "callbacks and loggers, per step",
            f"{_spread(_milliseconds(found['seconds_of_logging_per_step']), 1)} ms",
            f"{found['share_of_logging']:.1%}",
        ),
        (
            "pictures and checks, per validation",
            f"{_spread(found['seconds_of_views_per_validation'], 1)} s",
            f"{found['share_of_views']:.1%}",
        ),
    ]
    return table(("what", "time", f"share of the training of `{found['model']}`"), rows)


def busy_machine() -> str:
    """Return the speed of training beside other processes, and its share of the speed alone."""
    found = read_result("busy_machine")
    alone = found["rows"]["alone"]["fixed"]["median"]
    columns = (
        "training",
        "as many threads as ever",
        "share",
        "threads follow the free cores",
        "share",
        "fewest threads",
    )
    rows = [
        (
            name,
            *(
                text
                for setting in ("fixed", "shared")
                for text in (_spread(row[setting], 0), f"{row[setting]['median'] / alone:.0%}")
            ),
            str(row["shared"]["fewest_threads"]),
        )
        for name, row in found["rows"].items()
    ]
    repeats = len(found["rows"]["alone"]["fixed"]["repeats"])
    return (
        f"Images/s of a small `resflow`, all trainings together: medians and ranges of {repeats} trainings of "
        f"{found['seconds']} s on {found['cpu']}, {found['threads']} threads; {found['hardware']}.\n\n"
        f"{table(columns, rows)}"
    )


def time_to_bpd() -> str:
    """Return bits per dimension of test images after minutes of training, for each model."""
    rows = read_result("time_to_bpd")["rows"].values()
    marks = sorted({row["minutes"] for row in rows})
    by_model: dict[str, dict[float, dict[str, Any]]] = {}
    for row in rows:
        by_model.setdefault(row["model"], {})[row["minutes"]] = row
    columns = ("model", "parameters", *(f"{mark:g} min" for mark in marks))
    lines = [
        (
            f"`{model}`",
            f"{next(iter(found.values()))['parameters']:,}",
            *(f"{found[mark]['bpd']:.3f}" if mark in found else "" for mark in marks),
        )
        for model, found in by_model.items()
    ]
    first = next(iter(rows))
    return f"{first['threads']} threads, {first['cpu']}, {first['hardware']}.\n\n{table(columns, lines)}"


def _milliseconds(seconds: dict[str, Any]) -> dict[str, Any]:
    return {name: 1e3 * seconds[name] for name in ("median", "low", "high")}


def _variants(found: dict[str, Any]) -> Any:
    for architecture, row in found["rows"].items():
        for library, settings in row["libraries"].items():
            for setting, metrics in settings.items():
                yield architecture, library, setting, metrics


def _ratio(libraries: dict[str, Any], our_settings: Sequence[str], their_settings: Sequence[str]) -> str:
    """Return the median and range of our training speed over theirs, each at its fastest setting."""
    others = [libraries[name] for name in libraries if name != OURS]
    ours = _fastest([libraries[OURS]], our_settings)
    ratios = [one / other for one, other in zip(ours, _fastest(others, their_settings), strict=True)]
    return _spread_of(ratios, 2)


def _fastest(libraries: Sequence[dict[str, Any]], settings: Sequence[str]) -> list[float]:
    """Return the repeated training speeds of the library and setting with the highest median."""
    speeds = [library[setting]["training"] for library in libraries for setting in settings]
    return max(speeds, key=lambda found: found["median"])["repeats"]


def _spread_of(repeats: Sequence[float], digits: int) -> str:
    return _spread({"median": median(repeats), "low": min(repeats), "high": max(repeats)}, digits)


def _spread(metrics: dict[str, Any], digits: int) -> str:
    middle, low, high = (f"{metrics[key]:,.{digits}f}" for key in ("median", "low", "high"))
    return f"{middle} ({low} to {high})"
