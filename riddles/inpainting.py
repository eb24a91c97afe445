"""Riddles about inpainting: climbing in pixel space, a second tanh, epoch 0, and enough time."""

from functools import partial

import torch
from torch import Tensor

from nf_mnist.diagnostics import make_batch
from nf_mnist.inpainting import logit_adam, logit_ascent, pixel_ascent
from nf_mnist.inpainting.logits import log_prob_of_images
from riddles.measures import Method, errors_without_flow, inpaint, sample_quality
from riddles.runs import SEED, Outcome, Riddle, Run, released, train

PIXEL_STEPS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4)
N_STEPS = 200
CLIMBS = (10, 50, 200)
TIMES = (10, 100, 1000, 10_000)
ADAM: Method = partial(logit_adam, step=0.1)  # the settings of conf/method
ASCENT: Method = partial(logit_ascent, step=0.2, clip=10.0)
WAYS = {"adam": ADAM, "ascent": ASCENT}


def inpainting_in_pixel_space(riddle: Riddle) -> Outcome:
    """Answer riddle 8: plain steps in x at five rates, Adam in y, and the gradients at black and grey pixels."""
    run = train(riddle.name)
    pixel = {f"{step:g}": inpaint(run, pixel_ascent, n_steps=N_STEPS, step=step) for step in PIXEL_STEPS}
    logit = inpaint(run, ADAM, n_steps=N_STEPS)
    without = errors_without_flow(run)
    gradients = _gradients(run)
    errors = [row["squared_error"] for row in pixel.values()]
    found = (
        f"error {min(errors):.1f} in pixels at the best of five step sizes, {logit['squared_error']:.1f} by Adam in "
        f"logit space, {without['corrupted']:.1f} corrupted; the median gradient in x is {gradients['black']:.2g} at "
        f"black pixels, {gradients['grey']:.2g} at grey ones"
    )
    is_worse = min(errors) > 1.2 * logit["squared_error"]
    result = "confirmed" if is_worse and gradients["black"] >= 10 * gradients["grey"] else "refuted"
    return Outcome(result, found, {"pixel": pixel, "logit_adam": logit, **without, "gradients": gradients})


def double_tanh(riddle: Riddle) -> Outcome:
    """Answer riddle 9: Adam and plain steps in logit space, with one tanh and with two."""
    runs = {"double_tanh": train(riddle.name), "tanh": train(riddle.name, riddle.remedy)}
    table = {
        f"{scale} {name}": {steps: inpaint(run, method, n_steps=steps) for steps in CLIMBS}
        for scale, run in runs.items()
        for name, method in WAYS.items()
    }
    without = errors_without_flow(runs["tanh"])
    last = {name: rows[CLIMBS[-1]]["squared_error"] for name, rows in table.items()}
    said = ", ".join(f"{name} {error:.1f}" for name, error in last.items())
    bpd = ", ".join(f"{name} {run.bpd:.2f}" for name, run in runs.items())
    found = f"error after {CLIMBS[-1]} steps: {said}; corrupted {without['corrupted']:.1f}; bits per dimension: {bpd}"
    adam_works = last["tanh adam"] < min(last["tanh ascent"], 0.8 * without["corrupted"])
    is_harder = last["double_tanh adam"] >= 1.05 * last["tanh adam"]
    result = {2: "confirmed", 1: "partly", 0: "refuted"}[adam_works + is_harder]
    return Outcome(result, found, {"climbs": table, **without, "bpd": {name: run.bpd for name, run in runs.items()}})


def inpaints_at_once(riddle: Riddle) -> Outcome:
    """Answer riddle 11: CP3's ascent on the untrained flow, after 200 steps, and on the released flow."""
    runs = {
        "untrained": train(riddle.name, ["trainer.max_steps=1", "optimizer.lr=0.0"]),
        "200 steps": train(riddle.name),
    }
    rows = {name: {**inpaint(run, ASCENT, n_steps=100), **sample_quality(run)} for name, run in runs.items()}
    rows["pretrained:cp3"] = {
        **inpaint(released("cp3"), ASCENT, n_images=10, n_steps=50),
        **sample_quality(released("cp3")),
    }
    without = errors_without_flow(runs["200 steps"])
    early = rows["200 steps"]
    found = (
        f"after 200 steps error {early['squared_error']:.1f} of {without['corrupted']:.1f} corrupted (untrained "
        f"{rows['untrained']['squared_error']:.1f}), {early['more_probable']:.0%} denser than the truth, "
        f"{early['confident_share']:.0%} of samples look like digits; the mean training image alone scores "
        f"{without['mean_image']:.1f}"
    )
    is_good = early["squared_error"] <= 0.75 * without["corrupted"]
    is_awful, exceeds = early["confident_share"] <= 0.05, early["more_probable"] > 0.5
    return Outcome("confirmed" if is_good and is_awful and exceeds else "refuted", found, {"rows": rows, **without})


def inpaints_given_time(riddle: Riddle) -> Outcome:
    """Answer riddle 17: error against steps, up to 10,000."""
    run = train(riddle.name)
    rows = {}
    for steps in TIMES:
        rows[steps] = inpaint(run, ADAM, n_steps=steps)
        print(f"  {steps} steps: {rows[steps]}", flush=True)
    without = errors_without_flow(run)
    gains = [f"{row['log_prob'] - row['log_prob_of_truth']:+.0f}" for row in rows.values()]
    said = ", ".join(f"{row['squared_error']:.1f} after {steps:,}" for steps, row in rows.items())
    found = (
        f"mean error {said} steps; half of the corrupted {without['corrupted'] / 2:.1f}, the mean training image "
        f"{without['mean_image']:.1f}; log p less the truth's {', '.join(gains)} nats"
    )
    is_below = min(row["squared_error"] for row in rows.values()) < without["corrupted"] / 2
    return Outcome("confirmed" if is_below else "refuted", found, {"rows": rows, **without})


def _gradients(run: Run, n: int = 25) -> dict[str, float]:
    """Return the median size of the gradient of log p in x, at black pixels and at grey ones."""
    x = make_batch(run.flow, run.dequantizer, run.validation, n, SEED).x.requires_grad_()
    (gradient,) = torch.autograd.grad(log_prob_of_images(run.flow, x)[1].sum(), x)
    x = x.detach()

    def median(chosen: Tensor) -> float:
        return gradient[chosen].abs().median().item()

    return {"black": median(x < 0.01), "grey": median((x > 0.2) & (x < 0.8))}
