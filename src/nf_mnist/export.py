"""Keep the weights of a checkpoint alone, in bfloat16: ``python -m nf_mnist.export ckpt=FILE out=weights.ckpt``."""

from omegaconf import DictConfig

from nf_mnist.cli import command, new_path


@command("export")
def main(cfg: DictConfig) -> None:
    """Write a small checkpoint from which every command but resuming works, and print its checksum."""
    import hashlib
    import io

    import torch

    from nf_mnist.config import load_classifier, load_dequantizer, load_flow
    from nf_mnist.training.checkpoint import read_checkpoint, weights_only
    from nf_mnist.training.whole_files import write_whole

    out = new_path(cfg.out)
    checkpoint = read_checkpoint(cfg.ckpt)
    if "classifier" in checkpoint["config"]:
        modules: list[torch.nn.Module] = [load_classifier(cfg.ckpt)]
    else:
        modules = [load_flow(cfg.ckpt, cfg.trust)[0], load_dequantizer(cfg.ckpt, trust=cfg.trust)]
    buffer = io.BytesIO()
    torch.save(weights_only(checkpoint, *modules), buffer)
    content = buffer.getvalue()
    write_whole(out, lambda file: file.write(content), "make room, then repeat the command")
    print(f"{hashlib.sha256(content).hexdigest()}  {out.name}")
    print(f"{out}: {len(content) / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
