"""Write a page that samples and completes digits in a browser: ``python -m nf_mnist.export_page``."""

from omegaconf import DictConfig

from nf_mnist.app.browser_page import check_exportable, copy_runtime, export_sampler, write_html
from nf_mnist.app.command import command
from nf_mnist.app.output import new_folder, new_path
from nf_mnist.app.trained import load_trained


@command("export_page")
def main(cfg: DictConfig) -> None:
    """Write one folder, which any static server can serve: the page, the sampler as ONNX, and its runtime."""
    out = new_path(cfg.out)
    flow = load_trained(cfg.ckpt, cfg.trust).flow
    check_exportable(flow)
    with new_folder(out) as folder:
        copy_runtime(folder)
        share = export_sampler(flow, folder)
        write_html(folder, cfg.ckpt)
    print(f"{share:.2%} of the pixels of samples have the same grey level as in torch")
    print(f"{folder}; look at it with: python -m http.server --directory {folder}")


if __name__ == "__main__":
    main()
