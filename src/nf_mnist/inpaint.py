"""Complete images of which a part is hidden: ``python -m nf_mnist.inpaint ckpt=FILE mask=lower method=mode``."""

from omegaconf import DictConfig

from nf_mnist.app.command import command
from nf_mnist.app.completion import build_method, complete, make_completion_task, write_completions
from nf_mnist.app.output import new_folder, new_path
from nf_mnist.app.placement import resolve_placement
from nf_mnist.app.settings import check_ranges, check_split
from nf_mnist.app.tables import print_completions
from nf_mnist.app.trained import load_trained


@command("inpaint")
def main(cfg: DictConfig) -> None:
    """Write a picture (truth, corrupted, completions, mean, deviation) and the metrics as CSV and JSON into ``out``."""
    check_ranges(cfg)
    check_split(cfg.split)
    out = new_path(cfg.out)
    placement = resolve_placement(cfg.device, cfg.precision)
    trained = load_trained(cfg.ckpt, cfg.trust)
    method = build_method(cfg.method)
    flow = trained.flow.to(placement.device, placement.dtype)
    if flow.n_classes or cfg.label is not None:
        flow = flow.given_label(cfg.label)
    task = make_completion_task(cfg, flow, cfg.get("data") or trained.cfg.data, placement)
    scored = complete(cfg, method, flow, task)
    with new_folder(out) as folder:
        metrics = write_completions(cfg, task, scored, folder)
    print_completions(metrics, folder)


if __name__ == "__main__":
    main()
