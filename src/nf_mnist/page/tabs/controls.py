"""Controls that several tabs have."""

from importlib.resources import files

import gradio as gr

from nf_mnist.page.drawings import read_upload, whole, write_drawing
from nf_mnist.page.subject import Subject
from nf_mnist.page.tabs.answers import answers

FIRST = 0  # number of the test image that is there at first


def file_of_canvas(name: str) -> str:
    """Return the text of a file of the canvas."""
    return (files("nf_mnist.page") / "canvas" / name).read_text()


def canvas(subject: Subject, name: str, has_mask: bool) -> gr.HTML:
    """Return a canvas to draw on, with a field and a button for test images beside it, and a way to open a PNG.

    Args:
        subject: The flow, whose images it takes.
        name: Name of the tab, which the requests of the canvas have as well.
        has_mask: Whether pixels can be hidden.
    """
    shape = subject.flow.event_shape
    drawing = gr.HTML(
        write_drawing(whole(subject.test_image(FIRST))),
        label="image",
        html_template=file_of_canvas("canvas.html"),
        js_on_load=file_of_canvas("canvas.js"),
        elem_id=f"{name}-canvas",
        height=shape[1],
        width=shape[2],
        has_mask=has_mask,
    )
    with gr.Row():
        number = test_number(subject, "Test image", FIRST)
        take = gr.Button("Take it", size="sm", min_width=80, elem_id=f"{name}-take")

    @answers
    def taken(number: float | None) -> str:
        return write_drawing(whole(subject.test_image(number)))

    @answers
    def opened(event: gr.EventData) -> str:
        return write_drawing(whole(read_upload(event._data.get("content"), shape)))

    take.click(taken, number, drawing, api_name=f"{name}_take", show_progress="hidden")
    number.submit(taken, number, drawing, api_visibility="private", show_progress="hidden")
    drawing.upload(opened, None, drawing, api_visibility="private", show_progress="hidden")
    return drawing


def test_number(subject: Subject, label: str, first: int) -> gr.Number:
    """Return a field for the number of a test image."""
    last = len(subject.test.levels) - 1
    return gr.Number(first, label=label, precision=0, min_width=140, info=f"Its number, from 0 to {last}.")


def seed_number() -> gr.Number:
    """Return a field for a seed."""
    return gr.Number(0, label="Seed", precision=0, info="The same seed gives the same result.")
