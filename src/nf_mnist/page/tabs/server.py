"""The page with all its tabs, and the server that shows it to this machine alone unless told."""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping

import gradio as gr
from omegaconf import DictConfig

from nf_mnist.page.completions import Method
from nf_mnist.page.subject import Subject
from nf_mnist.page.tabs.bits import bits_tab
from nf_mnist.page.tabs.complete import complete_tab
from nf_mnist.page.tabs.controls import file_of_canvas
from nf_mnist.page.tabs.diagnose import diagnose_tab
from nf_mnist.page.tabs.latents import latents_tab
from nf_mnist.page.tabs.sample import sample_tab

N_AT_ONCE = 2  # requests of one kind that are computed at a time; the others wait
N_WAITING = 100
N_BYTES_UPLOADED = 1  # of files sent to Gradio, which would write them to the disk; the canvas sends pictures as text


def build_page(cfg: DictConfig, subject: Subject, methods: Mapping[str, Method]) -> gr.Blocks:
    """Return the page.

    Args:
        cfg: The settings of ``play``.
        subject: The flow.
        methods: Methods of inpainting by their names, with their settings bound.
    """
    with gr.Blocks(title=f"{subject.title}: a flow to play with", analytics_enabled=False) as page:
        gr.Markdown(f"# {subject.title}")
        with gr.Tab("Complete"):
            complete_tab(subject, methods)
        with gr.Tab("Sample"):
            sample_tab(subject)
        with gr.Tab("Latents"):
            latents_tab(subject)
        with gr.Tab("Bits"):
            bits_tab(subject, cfg.n_images)
        with gr.Tab("Diagnose"):
            diagnose_tab(cfg, subject.title)
    return page.queue(default_concurrency_limit=N_AT_ONCE, max_size=N_WAITING)


@contextlib.contextmanager
def serving(page: gr.Blocks, host: str, port: int) -> Iterator[str]:
    """Serve a page within the context: nothing is shared, no other server is asked, and no file can be read.

    Args:
        page: The page.
        host: The address of this machine to listen at.
        port: The port.

    Yields:
        The address of the page.
    """
    warnings.filterwarnings("ignore", module="gradio")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # Gradio asks itself whether it is there
    # Gradio logs a traceback where one of its controls refuses a value, although the page says what is wrong.
    gr.Error.print_exception = property(lambda error: False, lambda error, value: None)
    _, url, _ = page.launch(
        server_name=host,
        server_port=port,
        share=False,
        inbrowser=False,
        prevent_thread_lock=True,
        quiet=True,
        show_error=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        run_history=False,
        footer_links=[],
        max_file_size=N_BYTES_UPLOADED,
        theme=_theme(),
        css=file_of_canvas("page.css"),
    )
    try:
        yield url
    finally:
        page.close(verbose=False)


def _theme() -> gr.themes.Base:
    """Return Gradio's theme with fonts that every system has, and words of help that are dark enough to be read."""
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
    return theme.set(block_info_text_color="*neutral_600", block_info_text_color_dark="*neutral_300")
