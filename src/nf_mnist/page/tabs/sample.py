"""The tab Sample."""

import gradio as gr

from nf_mnist.errors import DataError
from nf_mnist.page.drawings import decoded
from nf_mnist.page.samples import MAX_SAMPLES, can_be_guided, draw, sample_choices, sample_figures
from nf_mnist.page.subject import Subject
from nf_mnist.page.tabs.answers import answers
from nf_mnist.page.tabs.controls import seed_number

EACH = "each in turn"
ON_CLICK = """element.addEventListener("click", event => {
    const chosen = event.target.closest("[data-levels]");
    if (chosen) trigger("click", { levels: chosen.dataset.levels });
});"""


def sample_tab(subject: Subject) -> None:
    """Add the controls and the answers of the tab."""
    flow = subject.flow
    gr.Markdown("Draw digits, and click on one to see the nearest training image and what a classifier sees in it.")
    with gr.Row():
        with gr.Column(min_width=300):
            n = gr.Slider(1, MAX_SAMPLES, 16, step=1, label="Samples", info="How many to draw.")
            info = "Standard deviation of the latents: below 1, samples are more typical and less diverse."
            temperature = gr.Slider(0, 2, 1, step=0.05, label="Temperature", info=info)
            labels = [EACH, *map(str, range(flow.n_classes))]
            info = "Of all samples." if flow.n_classes else "This flow has no class labels."
            label = gr.Dropdown(labels, value=EACH, label="Class", info=info, interactive=flow.n_classes > 0)
            is_guided = can_be_guided(flow)
            info = "How far to move towards the class." if is_guided else "Only tarflow with class labels has it."
            guidance = gr.Slider(0, 4, 0, step=0.1, label="Guidance", info=info, interactive=is_guided)
            seed = seed_number()
            start = gr.Button("Draw", variant="primary", elem_id="sample-start")
        with gr.Column(min_width=300):
            grid = gr.HTML(elem_id="sample-grid", js_on_load=ON_CLICK)
            chosen = gr.HTML(elem_id="sample-chosen")

    @answers
    def drawn(n: int, temperature: float, label: str, guidance: float, seed: int) -> tuple[str, str]:
        number = None if label == EACH else int(label)
        return sample_choices(draw(subject, n, temperature, seed, number, guidance)), ""

    @answers
    def compared(event: gr.EventData) -> str:
        try:
            levels = decoded(event._data.get("levels"), flow.event_shape)
        except (ValueError, TypeError):
            raise DataError("click on a sample") from None
        return sample_figures(subject, levels)

    start.click(drawn, [n, temperature, label, guidance, seed], [grid, chosen], api_name="sample")
    grid.click(compared, None, chosen, api_visibility="private", show_progress="hidden")
