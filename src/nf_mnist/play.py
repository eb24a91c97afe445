"""Play with a flow on a page of its own: ``python -m nf_mnist.play ckpt=pretrained:conditional``."""

import threading

from omegaconf import DictConfig

from nf_mnist.app.command import command
from nf_mnist.app.completion import build_method
from nf_mnist.app.settings import check_ranges
from nf_mnist.page.requirements import check_gradio, check_port
from nf_mnist.page.subject import load_subject


@command("play")
def main(cfg: DictConfig) -> None:
    """Serve a page on which one erases parts of digits, draws samples, moves latents, and sees where the bits are."""
    check_ranges(cfg)
    check_gradio()
    check_port(cfg.host, cfg.port)
    methods = {name: build_method(node) for name, node in cfg.methods.items()}
    subject = load_subject(cfg)
    from nf_mnist.page.tabs import build_page, serving  # imports Gradio, which is an extra

    with serving(build_page(cfg, subject, methods), cfg.host, cfg.port) as url:
        print(f"{url} shows {subject.title}; Ctrl-C ends it", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
