"""Keep the weights of a checkpoint alone, in bfloat16: ``python -m nf_mnist.export ckpt=FILE out=weights.ckpt``."""

from omegaconf import DictConfig

from nf_mnist.cli import command, new_path


@command("export")
def main(cfg: DictConfig) -> None:
    """Write a small checkpoint from which every command but resuming works, and print its checksum."""
    import hashlib

    import torch

    from nf_mnist.config import load_classifier, load_flow
    from nf_mnist.training.checkpoint import read_checkpoint, weights_only

    out = new_path(cfg.out)
    checkpoint = read_checkpoint(cfg.ckpt)
    is_classifier = "classifier" in checkpoint["config"]
    module = load_classifier(cfg.ckpt) if is_classifier else load_flow(cfg.ckpt, cfg.trust)[0]
    temporary = out.with_name(f".{out.name}")
    torch.save(weights_only(checkpoint, module), temporary)
    temporary.replace(out)
    content = out.read_bytes()
    print(f"{hashlib.sha256(content).hexdigest()}  {out.name}")
    print(f"{out}: {len(content) / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
