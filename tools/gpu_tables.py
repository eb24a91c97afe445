"""Tables of what was measured on a GPU, from ``results/gpu_*.json``; see ``benchmarks/gpu``."""

from typing import Any

from tools.from_results import read_result, table


def gpu_machine() -> str:
    """Return the card, its driver, and the versions that matter."""
    found = read_result("gpu_cases")
    gpu = found["gpu"]
    if gpu is None:
        return f"{found['hardware']}; no GPU."
    return (
        f"{gpu['name']}, {gpu['memory_gib']:.0f} GiB, compute capability {gpu['capability']}; driver {gpu['driver']}, "
        f"CUDA {gpu['cuda']}; {found['hardware']}; Python {found['python']}; {found['cpu']}."
    )


def gpu_cases() -> str:
    """Return how many of the simulated GPU's cases pass on the card, and which do not."""
    found = read_result("gpu_cases")
    rows = found["rows"]
    failed = [(name, row["error"]) for name, row in rows.items() if row["error"]]
    text = (
        f"{len(rows) - len(failed)} of {len(rows)} cases pass, in {sum(row['seconds'] for row in rows.values()):.0f} s."
    )
    text += _end_of(found)
    return f"{text}\n\n{table(('case that fails', 'reason'), failed)}" if failed else text


def gpu_round_trips() -> str:
    """Return the errors of round trips on the CPU, on the card, and on the card with TF32."""
    found = read_result("gpu_round_trips")
    places = {"cpu": "CPU", "card": "GPU", "card_tf32": "GPU, TF32"}
    columns = ("flow", *(f"{name}: largest error in levels, pixels that change" for name in places.values()))
    rows = [
        (f"`{name}`", *(f"{row[key]['largest']:.1e}, {row[key]['changed']:.2%}" for key in places))
        for name, row in found["rows"].items()
    ]
    return table(columns, rows) + _end_of(found)


def gpu_speed() -> str:
    """Return speed, memory and utilization of training, with the median and range of repeats."""
    found = read_result("gpu_speed")
    columns = ("training", "images/s", "MiB", "GPU busy", "seconds of the first steps")
    return table(columns, [_speed_row(name, row) for name, row in found["rows"].items()]) + _end_of(found)


def gpu_checks() -> str:
    """Return what a training reached, what resuming keeps, what batch size was found, and how lanes shared the card."""
    lines = []
    for name in ("training", "resume", "batch_size", "lanes"):
        found = read_result(f"gpu_{name}")
        lines += [(name.replace("_", " "), key, row.get("error") or _said(row)) for key, row in found["rows"].items()]
        if found["error"]:
            lines.append((name.replace("_", " "), "", f"failed: {found['error']}"))
    return table(("part", "of", "found"), lines)


def _said(row: dict[str, Any]) -> str:
    """Return the metrics of a row in words."""
    if "bpd" in row:
        minutes = row["training_seconds"] / 60
        return f"{row['bpd']:.3f} bpd on the test images after {minutes:.1f} minutes, {row['steps']:,} steps"
    if "tensors" in row:
        return f"all {row['tensors']} tensors equal, bit for bit"
    if "batch_size" in row:
        return f"`data.batch_size={row['batch_size']}`"
    return f"{' and '.join(row['statuses'])}, one after the other"


def _speed_row(name: str, row: dict[str, Any]) -> tuple[str, ...]:
    if row.get("error"):
        return (name, row["error"], "", "", "")
    speed = row["images_per_second"]
    return (
        name,
        f"{speed['median']:,.0f} ({speed['low']:,.0f} to {speed['high']:,.0f})",
        "" if row["mebibytes"] is None else f"{row['mebibytes']:,.0f}",
        "" if row["utilization"] is None else f"{row['utilization']:.0f}%",
        f"{row['seconds_of_first_steps']:.0f}",
    )


def _end_of(found: dict[str, Any]) -> str:
    """Return why a part has ended early, in a paragraph of its own, or ""."""
    return f"\n\nThis part failed: {found['error']}." if found["error"] else ""
