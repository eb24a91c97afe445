"""Draw bits per dimension against training time: ``python docs/learning_curve.py RUN NAME``.

Reads the TensorBoard scalars of a run's folder, writes them to ``results/learning_curve_NAME.json`` and draws
``docs/images/learning_curve_NAME.png``.
"""

import json
import sys
from pathlib import Path

from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

ROOT = Path(__file__).parent.parent
PUBLISHED = ROOT / "docs" / "published.json"
WINDOW = 20  # logged steps whose training figures are averaged


def read(run: Path) -> dict[str, list[tuple[float, float]]]:
    """Return minutes since the first logged step and bits per dimension, for training and validation."""
    (folder,) = {path.parent for path in run.rglob("events.out.tfevents.*")}
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    begin = events.Scalars("train/bpd")[0].wall_time
    curves = {
        stage: [((event.wall_time - begin) / 60, event.value) for event in events.Scalars(f"{stage}/bpd")]
        for stage in ("train", "val")
    }
    blocks = [curves["train"][i : i + WINDOW] for i in range(0, len(curves["train"]), WINDOW)]
    curves["train"] = [(block[-1][0], sum(value for _, value in block) / len(block)) for block in blocks]
    return curves


def draw(curves: dict[str, list[tuple[float, float]]]) -> Figure:
    """Return the curves, with the published flows as lines to compare with."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for stage, label in (("train", "training images"), ("val", "validation images")):
        axes.plot(*zip(*curves[stage], strict=True), label=label)
    end = 1.25 * curves["train"][-1][0]  # room for the names of lines
    for entry in json.loads(PUBLISHED.read_text()):
        bpd = float(entry.get("bpd", "inf"))
        if "flow" in entry["kind"] and bpd < 1.03:
            axes.axhline(bpd, color="grey", linewidth=0.8, linestyle=":")
            axes.text(end, bpd, f"{entry['model']} {entry['bpd']} ", va="bottom", ha="right", fontsize=8, color="grey")
    axes.set(xlim=(0, end), xlabel="minutes of training", ylabel="bits per dimension", ylim=(None, 1.3))
    axes.legend()
    return figure


def main() -> None:
    """Write the points and the picture."""
    run, name = Path(sys.argv[1]), sys.argv[2]
    curves = read(run)
    (ROOT / "results" / f"learning_curve_{name}.json").write_text(json.dumps(curves) + "\n")
    draw(curves).savefig(ROOT / "docs" / "images" / f"learning_curve_{name}.png", dpi=100)


if __name__ == "__main__":
    main()
