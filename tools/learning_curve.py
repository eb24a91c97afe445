"""Draw bits per dimension against training: ``python -m tools.learning_curve RUN NAME [--against epochs]``.

Reads the TensorBoard scalars of a run's folder, writes them to ``results/learning_curve_NAME.json`` and draws
``docs/images/learning_curve_NAME.png``. ``--published MODEL ...`` names the published results to draw beside them. A
run on images with Gaussian noise has no bits per dimension: its loss is drawn, in nats per image, and nothing else.
"""

import argparse
import json
from pathlib import Path

from matplotlib.figure import Figure
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator, ScalarEvent

from tools.from_results import ROOT, TRAINING_IMAGES
from tools.result_tables import read_published

PUBLISHED = ["Residual Flow", "FFJORD", "multi-scale flow"]  # the best flows
WINDOW = 20  # logged steps over which the training metric is averaged

Curves = dict[str, list[tuple[float, float]]]


def read(run: Path, against: str) -> tuple[Curves, str]:
    """Return the curves of training and validation, points of minutes or epochs, and what they show: bpd or loss."""
    (folder,) = {path.parent for path in run.rglob("events.out.tfevents.*")}
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    shown = "bpd" if "val/bpd" in events.Tags()["scalars"] else "loss"
    begin = events.Scalars(f"train/{shown}")[0].wall_time
    per_step = OmegaConf.load(run / "config.yaml").data.batch_size / TRAINING_IMAGES

    def progress(event: ScalarEvent) -> float:
        return (event.step + 1) * per_step if against == "epochs" else (event.wall_time - begin) / 60

    curves = {
        stage: [(progress(event), event.value) for event in events.Scalars(f"{stage}/{shown}")]
        for stage in ("train", "val")
    }
    blocks = [curves["train"][i : i + WINDOW] for i in range(0, len(curves["train"]), WINDOW)]
    curves["train"] = [(block[-1][0], sum(value for _, value in block) / len(block)) for block in blocks]
    return curves, shown


def draw(curves: Curves, shown: str, against: str, published: list[str]) -> Figure:
    """Draw the curves, and beside bits per dimension published models as horizontal lines."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for stage, label in (("train", "training images"), ("val", "validation images")):
        axes.plot(*zip(*curves[stage], strict=True), label=label)
    end = 1.25 * curves["train"][-1][0]  # room for the names of lines
    for entry in read_published():
        if shown == "bpd" and entry["model"] in published:
            bpd = float(entry["bpd"])
            axes.axhline(bpd, color="grey", linewidth=0.8, linestyle=":")
            axes.text(end, bpd, f"{entry['model']} {entry['bpd']} ", va="bottom", ha="right", fontsize=8, color="grey")
    first = curves["val"][0][1]
    highest = max(1.3, 1.1 * first) if shown == "bpd" else first + 0.1 * abs(first)
    label = "bits per dimension" if shown == "bpd" else "nats per image"
    axes.set(xlim=(0, end), xlabel=f"{against} of training", ylabel=label, ylim=(None, highest))
    axes.legend()
    return figure


def main() -> None:
    """Write the points and the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--against", choices=("minutes", "epochs"), default="minutes")
    parser.add_argument("--published", nargs="*", default=PUBLISHED)
    options = parser.parse_args()
    curves, shown = read(options.run, options.against)
    (ROOT / "results" / f"learning_curve_{options.name}.json").write_text(json.dumps(curves) + "\n")
    picture = ROOT / "docs" / "images" / f"learning_curve_{options.name}.png"
    draw(curves, shown, options.against, options.published).savefig(picture, dpi=100)


if __name__ == "__main__":
    main()
