"""Draw how log p rises while hidden pixels are climbed for: ``python docs/landscape.py``.

From ``results/landscape.json``, which ``python benchmarks/landscape.py`` writes, into ``docs/images/landscape.png``.
"""

from typing import Any

from from_results import ROOT, read_result
from matplotlib.figure import Figure

LINEAR = 100  # nats on either side of the truth's; beyond, the axis is logarithmic


def picture(flows: dict[str, Any]) -> Figure:
    """Draw medians as lines and quartiles as bands, a panel for each flow."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    panels = figure.subplots(1, len(flows), sharey=True)
    for axes, (name, flow) in zip(panels, flows.items(), strict=True):
        for climb, label in (("ascent", "plain steps"), ("adam", "Adam")):
            low, middle, high = flow[climb]
            steps = range(1, len(middle) + 1)
            axes.plot(steps, middle, label=label)
            axes.fill_between(steps, low, high, alpha=0.25)
        axes.axhline(0, color="black", linewidth=0.8, linestyle=":")
        axes.set(title=f"{name}, {flow['bpd']:.2f} bpd", xlabel="step", xscale="log")
        axes.set_yscale("symlog", linthresh=LINEAR)
    panels[0].set_ylabel("log p less the true image's, nats")
    panels[0].legend(loc="lower right")
    return figure


if __name__ == "__main__":
    picture(read_result("landscape")["flows"]).savefig(ROOT / "docs" / "images" / "landscape.png", dpi=100)
