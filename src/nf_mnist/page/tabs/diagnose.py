"""The tab Diagnose."""

from collections.abc import Iterator

import gradio as gr
from omegaconf import DictConfig

from nf_mnist.page.diagnosis import diagnosis_figures
from nf_mnist.page.tabs.answers import answers


def diagnose_tab(cfg: DictConfig, title: str) -> None:
    """Add the controls and the answers of the tab.

    Args:
        cfg: The settings of ``play``.
        title: Name of the flow.
    """
    gr.Markdown("Every check of the command `diagnose`, on fewer images. It takes minutes, and Stop ends it.")
    with gr.Row():
        start = gr.Button("Diagnose", variant="primary", min_width=120, elem_id="diagnose-start")
        stop = gr.Button("Stop", min_width=80)
    report = gr.HTML(elem_id="diagnose-report")

    @answers
    def diagnosed() -> Iterator[str]:
        yield from diagnosis_figures(cfg, title)

    event = start.click(diagnosed, None, report, api_name="diagnose")
    stop.click(None, cancels=[event])
