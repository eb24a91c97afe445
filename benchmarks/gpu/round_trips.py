"""Round trips of released flows in float32: on the CPU, on the card, and on the card with TF32."""

import torch

from benchmarks.gpu.parts import Plan, Rows
from nf_mnist.app.evaluation import load_evaluation_task
from nf_mnist.data import evaluation_noise
from nf_mnist.hardware import use_ieee_float32
from nf_mnist.metrics.invertibility import round_trip

FLOWS = ("resflow", "cp3", "hierarchical-base", "conditional")
EVALUATION = {"split": "validation", "n_draws": 1, "batch_size": 100, "seed": 0}


def rows(plan: Plan) -> Rows:
    """Yield for each flow its largest error in grey levels, and the share of pixels that change their level."""
    n_images = 2 if plan.rehearse else 100
    for name in FLOWS[-1:] if plan.rehearse else FLOWS:
        task = load_evaluation_task(f"pretrained:{name}", EVALUATION, device="cpu")
        flow, levels = task.flow.eval(), task.images.levels[:n_images]
        context = flow.validation_context(levels, task.images.labels[:n_images])
        x, _ = task.dequantizer(levels, evaluation_noise(torch.arange(n_images), levels.shape[1:], 0, 0))
        row = {"cpu": round_trip(flow, x, context)._asdict()}
        flow, x = flow.to(plan.device), x.to(plan.device)
        context = None if context is None else context.to(plan.device)
        row["card"] = round_trip(flow, x, context)._asdict()
        use_tf32()
        row["card_tf32"] = round_trip(flow, x, context)._asdict()
        use_ieee_float32()
        yield name, row


def use_tf32() -> None:
    """Undo :func:`~nf_mnist.hardware.use_ieee_float32`."""
    convolutions = getattr(torch.backends.cudnn, "conv", None)
    if convolutions is None:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    else:
        convolutions.fp32_precision = torch.backends.cuda.matmul.fp32_precision = "tf32"
