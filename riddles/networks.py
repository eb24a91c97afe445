"""Riddles about the networks: MLP heads, initialization, and a landscape that is too complex."""

import math

import torch
from torch import Tensor, nn

from nf_mnist.diagnostics import make_batch
from nf_mnist.flows import Flow
from nf_mnist.inpainting import logit_adam
from nf_mnist.inpainting.logits import log_prob_of_logits, to_logits
from nf_mnist.metrics import count_parameters
from nf_mnist.nets import MLPHead, ResidualBlock, ResidualNet
from nf_mnist.training.module import FlowModule
from riddles.measures import errors_without_flow, inpaint, sample_quality
from riddles.runs import SEED, Outcome, Riddle, Run, train

WIDE = 32  # channels, twice those of the experiment
SIZES = {
    "2 couplings": ["model.flow.n_scales=1"],
    "6 couplings": ["model.flow.n_scales=2"],
    "10 couplings": [],
    "width 4": ["model.flow.hidden_channels=4"],
    "width 32": ["model.flow.hidden_channels=32"],
}
N_STEPS = 100


def no_mlp_heads(riddle: Riddle) -> Outcome:
    """Answer riddle 13: bits per dimension, samples and the reach of the Jacobian, with heads and without."""
    runs = {
        "without": train(riddle.name),
        "without, wider": train(riddle.name, [f"model.flow.hidden_channels={WIDE}"]),
        "with": train(riddle.name, riddle.remedy),
    }
    rows = {
        name: {
            "bpd": run.bpd,
            "parameters": count_parameters(run.flow),
            "reach": _reach(run),
            **sample_quality(run),
        }
        for name, run in runs.items()
    }
    said = "; ".join(
        f"{name} heads {row['bpd']:.3f} bits per dimension ({row['parameters']:,} parameters, the centre pixel moves "
        f"{row['reach']:.0%} of z)"
        for name, row in rows.items()
    )
    is_better = rows["with"]["bpd"] <= min(rows["without"]["bpd"], rows["without, wider"]["bpd"]) - 0.02
    reaches = rows["with"]["reach"] > 1.01 * rows["without"]["reach"]
    result = {2: "confirmed", 1: "partly", 0: "refuted"}[is_better + reaches]
    return Outcome(result, said, rows)


def initialization(riddle: Riddle) -> Outcome:
    """Answer riddle 14: the same flow from three initializations."""
    runs = {
        "Xavier": train(riddle.name),
        "orthogonal": train(riddle.name, prepare=_orthogonal),
        "zero last layers": train(riddle.name, prepare=_zero),
    }
    cured = train(riddle.name, riddle.remedy)
    rows = {name: {"first_loss": run.losses[0], "bpd": run.bpd, "curve": run.curve} for name, run in runs.items()}
    said = ", ".join(
        f"{name} {row['first_loss']:.3g} nats at first, {row['bpd']:.2f} bits per dimension"
        for name, row in rows.items()
    )
    best = min(runs, key=lambda name: runs[name].bpd)
    found = f"{said}; Xavier with ActNorm {cured.bpd:.2f}"
    is_no_cause = runs["Xavier"].bpd - runs[best].bpd <= 0.5
    result = {2: "confirmed", 1: "partly", 0: "refuted"}[is_no_cause + (best == "zero last layers")]
    return Outcome(result, found, {**rows, "Xavier, actnorm": {"bpd": cured.bpd}})


def too_complex_to_climb(riddle: Riddle) -> Outcome:
    """Answer riddle 16: completions, and how far the gradient turns, against depth and width."""
    rows = {}
    for name, overrides in SIZES.items():
        run = train(riddle.name, overrides)
        rows[name] = {
            "bpd": run.bpd,
            "gradients_agree": _agreement(run),
            **inpaint(run, logit_adam, n_steps=N_STEPS, step=0.1),
        }
    without = errors_without_flow(train(riddle.name))
    errors = {name: row["squared_error"] for name, row in rows.items()}
    said = ", ".join(
        f"{name} {row['squared_error']:.1f} (gradients agree by {row['gradients_agree']:.2f}, {row['bpd']:.2f} bpd)"
        for name, row in rows.items()
    )
    found = f"error of completions after {N_STEPS} steps: {said}; corrupted {without['corrupted']:.1f}"
    grows = errors["10 couplings"] > 1.1 * errors["2 couplings"] or errors["width 32"] > 1.1 * errors["width 4"]
    return Outcome("confirmed" if grows else "refuted", found, {"rows": rows, **without})


def _reach(run: Run) -> float:
    """Return the share of latents whose derivative by the centre pixel exceeds a thousandth of the largest one."""
    flow, few = run.task(4).precise
    x = few.x[:1]
    direction = torch.zeros_like(x)
    direction[0, 0, x.shape[2] // 2, x.shape[3] // 2] = 1
    moved = torch.func.jvp(lambda value: flow.bijector.forward_and_log_det(value)[0], (x,), (direction,))[1].abs()
    return (moved > 1e-3 * moved.max()).double().mean().item()


def _agreement(run: Run, n: int = 25, length: float = 0.1) -> float:
    """Return the cosine between gradients of log p in y: at images, and one step along the gradient's signs away."""
    y = to_logits(make_batch(run.flow, run.dequantizer, run.validation, n, SEED).x)
    here = _gradient(run.flow, y)
    there = _gradient(run.flow, y + length * here.sign())
    return nn.functional.cosine_similarity(here.flatten(1), there.flatten(1)).mean().item()


def _gradient(flow: Flow, y: Tensor) -> Tensor:
    y = y.clone().requires_grad_()
    return torch.autograd.grad(log_prob_of_logits(flow, y)[1].sum(), y)[0]


@torch.no_grad()
def _orthogonal(module: FlowModule) -> None:
    torch.manual_seed(SEED)
    for part in module.flow.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.weight.copy_(nn.init.orthogonal_(torch.empty(part.weight.shape), math.sqrt(2)))


def _zero(module: FlowModule) -> None:
    """Make every conditioner predict zeros, by its last linear layer and the last BatchNorm of its first block."""
    for net in module.flow.modules():
        if isinstance(net, ResidualNet):
            first, _, last = net
            assert isinstance(first, ResidualBlock)
            assert isinstance(last, ResidualBlock)
            norm, head = first.layers[4], last.layers[-1]
            assert isinstance(norm, nn.BatchNorm2d)
            assert isinstance(head, MLPHead)
            linear = head.layers[-1]
            assert isinstance(linear, nn.Linear)
            nn.init.zeros_(norm.weight)
            nn.init.zeros_(linear.weight)
