"""Keep the weights of a checkpoint alone, in bfloat16: ``python -m nf_mnist.export ckpt=FILE out=weights.ckpt``."""

import io

import torch
from omegaconf import DictConfig

from nf_mnist.app.command import command
from nf_mnist.app.output import new_file, new_path
from nf_mnist.app.trained import modules_from
from nf_mnist.checkpoints.checksums import sha256
from nf_mnist.checkpoints.reading import read_checkpoint
from nf_mnist.checkpoints.records import weights_only


@command("export")
def main(cfg: DictConfig) -> None:
    """Write a small checkpoint from which every command but resuming works, and print its checksum."""
    out = new_path(cfg.out)
    checkpoint = read_checkpoint(cfg.ckpt)
    buffer = io.BytesIO()
    torch.save(weights_only(checkpoint, *modules_from(checkpoint, cfg.ckpt, cfg.trust)), buffer)
    content = buffer.getvalue()
    out = new_file(out, lambda file: file.write(content))
    print(f"{sha256(content)}  {out.name}")
    print(f"{out}: {len(content) / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
