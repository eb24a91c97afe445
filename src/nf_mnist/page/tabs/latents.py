"""The tab Latents."""

import gradio as gr

from nf_mnist.page.latents import MAX_NOISE, MAX_SCALE, moved_figures, path_figures
from nf_mnist.page.subject import Subject
from nf_mnist.page.tabs.answers import answers
from nf_mnist.page.tabs.controls import seed_number, test_number


def latents_tab(subject: Subject) -> None:
    """Add the controls and the answers of the tab."""
    gr.Markdown(
        "Two images and what lies between their latents: on the straight line, which leaves the shell of the "
        "prior, and on the great circle, which stays on it."
    )
    with gr.Row():
        first, second = test_number(subject, "First test image", 0), test_number(subject, "Second test image", 1)
        between = gr.Button("Go from one to the other", variant="primary", elem_id="latents-start")
    line, circle = gr.HTML(elem_id="latents-line"), gr.HTML(elem_id="latents-circle")
    gr.Markdown("Move the latent of the first image: z becomes scale · (z + noise · e), with e standard normal.")
    with gr.Row():
        noise = gr.Slider(0, MAX_NOISE, 0, step=0.01, label="Noise", info="Its standard deviation.", elem_id="noise")
        scale = gr.Slider(0, MAX_SCALE, 1, step=0.01, label="Scale", info="1 leaves z where it is.", elem_id="scale")
        seed = seed_number()
    with gr.Row():
        moved, curve = gr.HTML(elem_id="latents-moved"), gr.HTML(elem_id="latents-chart")

    @answers
    def paths(first: float | None, second: float | None) -> tuple[str, str]:
        return path_figures(subject, first, second)

    @answers
    def shown(number: float | None, noise: float, scale: float, seed: int) -> tuple[str, str]:
        return moved_figures(subject, number, noise, scale, seed)

    between.click(paths, [first, second], [line, circle], api_name="paths")
    triggers = [noise.change, scale.change]
    gr.on(triggers, shown, [first, noise, scale, seed], [moved, curve], api_name="move", trigger_mode="always_last")
