"""Draw how log p rises along a climb in the hidden pixels: ``python -m tools.landscape``.

Reads ``results/landscape.json``, which ``python -m benchmarks.inpainting.landscape`` writes, and draws
``docs/images/landscape.png``. CP3 is a simplified Real NVP known to us only from its authors' report.
"""

from typing import Any

from matplotlib.figure import Figure

from tools.from_results import ROOT, read_result

TICKS = (-3000, -1000, -300, -100, 0, 100, 300)
LINEAR = 100  # nats around the truth's within which the axis is nearly linear; far beyond them it is logarithmic


def picture(flows: dict[str, Any]) -> Figure:
    """Draw medians as lines and quartiles as bands, a panel for each flow."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    panels = figure.subplots(1, len(flows), sharey=True)
    for axes, (name, flow) in zip(panels, flows.items(), strict=True):
        for climb, label in (("ascent", "CP3's clipped steps"), ("adam", "Adam")):
            low, middle, high = flow[climb]
            steps = range(1, len(middle) + 1)
            axes.plot(steps, middle, label=label)
            axes.fill_between(steps, low, high, alpha=0.25)
        axes.axhline(0, color="black", linewidth=0.8, linestyle=":")
        axes.set(title=f"{name}, {flow['bpd']:.2f} bpd", xlabel="step", xscale="log")
        axes.set_yscale("asinh", linear_width=LINEAR)
        axes.set_yticks(TICKS, [f"{tick:,}" for tick in TICKS])
        axes.set_yticks([], minor=True)
    panels[0].set_ylabel("log p less the true image's, nats (asinh scale)")
    panels[0].legend(loc="lower right")
    return figure


if __name__ == "__main__":
    picture(read_result("landscape")["flows"]).savefig(ROOT / "docs" / "images" / "landscape.png", dpi=100)
