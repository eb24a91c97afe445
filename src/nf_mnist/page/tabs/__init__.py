"""The controls of the page, one module a tab, and the server. All that knows Gradio is here."""

from nf_mnist.page.tabs.server import build_page, serving

__all__ = ["build_page", "serving"]
