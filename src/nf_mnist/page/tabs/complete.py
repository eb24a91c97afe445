"""The tab Complete."""

from collections.abc import Iterator, Mapping

import gradio as gr

from nf_mnist.errors import ConfigError
from nf_mnist.inpainting import HIDDEN
from nf_mnist.page.completions import (
    MAX_COMPLETIONS,
    Method,
    allowed_methods,
    complete,
    completing,
    completion_figures,
    hide,
)
from nf_mnist.page.drawings import read_drawing, write_drawing
from nf_mnist.page.subject import Subject
from nf_mnist.page.tabs.answers import answers
from nf_mnist.page.tabs.controls import canvas, seed_number

HELP = {
    "amortized": "draws from the flow's own distribution",
    "mode": "climbs to a likely completion",
    "replacement": "draws step by step, and puts the given pixels back before each step",
    "posterior": "runs a Hamiltonian chain for each completion, which takes minutes",
    "crank_nicolson": "runs a Metropolis chain for each completion, which takes minutes",
}


def complete_tab(subject: Subject, methods: Mapping[str, Method]) -> None:
    """Add the controls and the answers of the tab.

    Args:
        subject: The flow.
        methods: Methods by their names, with their settings bound.
    """
    flow = completing(subject.flow)
    allowed = allowed_methods(flow)
    if not allowed:
        gr.Markdown("This flow cannot complete images: it needs class labels, or its density has no gradient.")
        return
    gr.Markdown("Draw a digit, hide a part of it, and see what could be there.")
    with gr.Row():
        with gr.Column(min_width=300):
            drawing = canvas(subject, "complete", has_mask=True)
            part = gr.Dropdown(list(HIDDEN), value=None, label="Hide a part", info="Or paint with Hide.")
            with gr.Row():
                start = gr.Button("Complete", variant="primary", min_width=120, elem_id="complete-start")
                stop = gr.Button("Stop", min_width=80)
            n = gr.Slider(1, MAX_COMPLETIONS, 16, step=1, label="Completions", info="How many to make.")
            info = "; ".join(f"{name} {HELP[name]}" for name in allowed)
            method = gr.Radio(allowed, value=allowed[0], label="Method", info=f"{info}.")
            seed = seed_number()
        with gr.Column(min_width=300):
            summary, each = gr.HTML(elem_id="complete-summary"), gr.HTML(elem_id="complete-each")

    @answers
    def hidden(text: str, part: str, seed: int) -> str:
        return write_drawing(hide(read_drawing(text, subject.flow.event_shape), part, seed))

    @answers
    def completed(text: str, name: str, n: int, seed: int) -> Iterator[tuple[str, str]]:
        if name not in allowed:
            raise ConfigError(f"this flow cannot be completed by {name}; choose one of {', '.join(allowed)}")
        given = read_drawing(text, subject.flow.event_shape)
        for found in complete(flow, name, methods[name], given, n, seed):
            yield completion_figures(given, found, n)

    part.input(hidden, [drawing, part, seed], drawing, api_name="hide", show_progress="hidden")
    event = start.click(completed, [drawing, method, n, seed], [summary, each], api_name="complete")
    stop.click(None, cancels=[event])
