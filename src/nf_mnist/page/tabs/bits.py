"""The tab Bits."""

from functools import lru_cache
from threading import Lock

import gradio as gr

from nf_mnist.page.bits import Reference, bits_figures, measure_reference
from nf_mnist.page.drawings import read_drawing
from nf_mnist.page.subject import Subject
from nf_mnist.page.tabs.answers import answers
from nf_mnist.page.tabs.controls import canvas


def bits_tab(subject: Subject, n_images: int) -> None:
    """Add the controls and the answers of the tab.

    Args:
        subject: The flow.
        n_images: Number of test images, and of training images, to compare with. They are measured once.
    """
    gr.Markdown("What an image costs, pixel by pixel, and whether it looks like the training data.")
    with gr.Row():
        with gr.Column(min_width=300):
            drawing = canvas(subject, "bits", has_mask=False)
            start = gr.Button("Measure", variant="primary", elem_id="bits-start")
        with gr.Column(min_width=300):
            shown, histogram = gr.HTML(elem_id="bits-shown"), gr.HTML(elem_id="bits-histogram")
    lock = Lock()

    @lru_cache(1)
    def reference() -> Reference:
        return measure_reference(subject, n_images)

    @answers
    def measured(text: str) -> tuple[str, str]:
        levels = read_drawing(text, subject.flow.event_shape).levels
        with lock:
            known = reference()
        return bits_figures(subject, levels, known)

    start.click(measured, drawing, [shown, histogram], api_name="bits")
