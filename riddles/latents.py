"""Riddles about z: a flat norm, fresh latents that decode to garbage, sensitivity to noise, round-trip errors."""

import torch
from torch import Tensor

from nf_mnist.diagnostics import make_batch, perturbation_error
from nf_mnist.inpainting.logits import log_prob_of_images, log_prob_of_logits, to_logits
from nf_mnist.metrics import chi_moments, moments, offenders, projection_distance, radius, round_trip
from nf_mnist.metrics.invertibility import PRECISIONS
from riddles.likelihood import four_cells
from riddles.measures import sample_quality
from riddles.runs import SEED, Outcome, Riddle, Run, released, train

N_LATENTS = 4000
NOISE = (0.001, 0.003, 0.01, 0.03, 0.05, 0.1)
THIN = 0.1  # variance of a direction; 4,000 draws of 784 standard normals have no direction below 0.3


def flat_norm(riddle: Riddle) -> Outcome:
    """Answer riddle 5: three measures of z, in the four cells of riddle 3."""
    cells = {" ".join(key): _latent_metrics(_latents(run)) for key, run in four_cells(riddle).items()}
    failing, cured = cells["none none"], cells["logit uniform"]
    mean, std = chi_moments(784)
    found = (
        f"failing: norm {failing['radius_mean']:.1f} +- {failing['radius_std']:.1f}, {failing['off']:.0%} of "
        f"dimensions are not standard normal, projections off by {failing['projection']:.2f}; cured: "
        f"{cured['radius_mean']:.1f} +- {cured['radius_std']:.1f}, {cured['off']:.0%}, {cured['projection']:.2f} "
        f"(expected {mean:.2f} +- {std:.2f}, 0%, 0)"
    )
    is_nearer = abs(cured["radius_mean"] - mean) < abs(failing["radius_mean"] - mean)
    agree = cured["off"] < failing["off"] and cured["projection"] < failing["projection"]
    return Outcome("confirmed" if is_nearer and agree else "refuted", found, cells)


def fresh_z(riddle: Riddle) -> Outcome:
    """Answer riddle 6: how thin a set the latents of data lie on, compared with perturbed and fresh latents."""
    cells = {}
    for key, run in four_cells(riddle).items():
        batch, z = run.task().batch, _latents(run)
        deviation = batch.x.var(0).mean().sqrt().item()
        cells[" ".join(key)] = {
            "perturbed": perturbation_error(run.flow, batch.x, 0.1, SEED) / deviation,
            "thin_share": _thin_share(z),
            "dimensions_below_a_tenth": (moments(z)[1] < 0.1).double().mean().item(),
            **sample_quality(run),
        }
    failing, cured = cells["none none"], cells["logit uniform"]
    found = (
        f"{failing['thin_share']:.0%} of the directions of z are thin, {cured['thin_share']:.0%} when cured; "
        f"perturbed by 0.1 an image moves by {failing['perturbed']:.2f} and {cured['perturbed']:.2f} deviations; "
        f"samples' Frechet distance is {failing['frechet_distance']:.0f} and {cured['frechet_distance']:.0f}"
    )
    is_thin = failing["thin_share"] >= 0.1 and cured["thin_share"] < failing["thin_share"]
    return Outcome("confirmed" if is_thin and failing["perturbed"] <= 0.5 else "refuted", found, cells)


def sensitive_to_noise(riddle: Riddle) -> Outcome:
    """Answer riddle 10: how far log p falls with noise in two released flows, per unit of x and per unit of logit."""
    curves = {name: _noise_curves(released(name)) for name in ("resflow", "cp3")}
    at = NOISE.index(0.05)
    ours, theirs = curves["resflow"]["per_x"][at], curves["cp3"]["per_x"][at]
    mixed = curves["cp3"]["per_logit"][at]
    found = (
        f"at 0.05 resflow drops by {ours:.2f} nats per dimension, cp3 by {theirs:.2f}, both per x; per logit by "
        f"{curves['resflow']['per_logit'][at]:.2f} and {mixed:.2f}; each in its own convention {ours:.2f} and "
        f"{mixed:.2f}"
    )
    return Outcome("confirmed" if ours >= 1.5 * theirs else "refuted", found, {"noise": list(NOISE), **curves})


def round_trip_error(riddle: Riddle) -> Outcome:
    """Answer riddle 12: the same round trip in three precisions, for a small flow and a released one."""
    rows = {}
    for name, run in {"small": train(riddle.name), "pretrained:resflow": released("resflow")}.items():
        x = run.task().batch.x[:32]
        rows[name] = {precision: round_trip(run.flow, x, precision=precision)._asdict() for precision in PRECISIONS}
    gains = {name: row["float32"]["largest"] / row["float64"]["largest"] for name, row in rows.items()}
    changed = max(row["float32"]["changed"] for row in rows.values())
    said = "; ".join(
        f"{name}: " + ", ".join(f"{row[precision]['largest'] / 256:.1g} in {precision}" for precision in PRECISIONS)
        for name, row in rows.items()
    )
    found = f"largest error of x, {said}; in float32 {changed:.1g} of the pixels come back on another level"
    is_rounding = min(gains.values()) >= 1e6 and changed <= 1e-4
    return Outcome("confirmed" if is_rounding else "refuted", found, {"rows": rows, "float64_gain": gains})


def _latents(run: Run) -> Tensor:
    """Return latents of validation images, shape (4000, 784), in float64."""
    return run.task(N_LATENTS).scores.z.double()


def _latent_metrics(z: Tensor) -> dict[str, float]:
    norms = radius(z)
    return {
        "radius_mean": norms.mean,
        "radius_std": norms.std,
        "off": offenders(z).share,
        "projection": projection_distance(z),
    }


def _thin_share(z: Tensor) -> float:
    """Return the share of principal directions in which the variance of z is below :data:`THIN`."""
    return (torch.linalg.eigvalsh(z.T.cov()) < THIN).double().mean().item()


@torch.no_grad()
def _noise_curves(run: Run, n: int = 100) -> dict[str, list[float]]:
    """Return how far log p falls as noise is added to x, in nats per dimension, for densities of x and of logits."""
    x = make_batch(run.flow, run.dequantizer, run.validation, n, SEED).x
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(SEED))

    def densities(x: Tensor) -> tuple[float, float]:
        of_x, of_logits = log_prob_of_images(run.flow, x)[1], log_prob_of_logits(run.flow, to_logits(x))[1]
        return of_x.double().mean().item() / 784, of_logits.double().mean().item() / 784

    before = densities(x)
    after = [densities((x + scale * noise).clamp(1e-4, 1 - 1e-4)) for scale in NOISE]
    drops = [[begin - end for begin, end in zip(before, ends, strict=True)] for ends in after]
    return {"per_x": [drop[0] for drop in drops], "per_logit": [drop[1] for drop in drops]}
