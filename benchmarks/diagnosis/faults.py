"""Does the diagnosis name planted faults, and leave healthy flows alone? ``python -m benchmarks.diagnosis.faults``.

The faults and the healthy flows of ``tests/`` were written by someone who had not read the laws. Below stands, for each
fault, which law names it; a fault is named rightly if the first law that fails, or else the first that warns, is one of
these. An alarm is a law that fails on a healthy flow. Writes ``results/planted_faults.json``.
"""

from pathlib import Path
from typing import Any

from benchmarks.diagnosis.healthy_flows import HEALTHY, healthy_flow, small_images
from benchmarks.diagnosis.planted_faults import FAULTS, TRUTH, Planted
from nf_mnist.checkpoints.writing import write_json
from nf_mnist.data import Images, UniformDequantizer
from nf_mnist.diagnostics import CHECKS, DiagnosisTask, Result, diagnose, make_batch

ROOT = Path(__file__).parents[2]
N_IMAGES, SEED = 300, 0
JACOBIAN = ("log-determinant is that of the Jacobian",)
INVERSE = ("inverse undoes forward", "forward undoes inverse")
RANDOM = ("same input, same output",)
STATE = ("state is left alone",)
MIXED = ("events do not mix",)
SPIKES = ("data are dithered", "no spikes on grey levels")

NAMED_BY: dict[str, tuple[str, ...]] = {
    "log_det_without_mask": JACOBIAN,
    "log_det_of_wrong_sign": JACOBIAN,
    "log_det_mean_over_dims": JACOBIAN,
    "log_det_mean_over_batch": MIXED,
    "log_det_without_pixels": JACOBIAN,
    "log_det_of_rest_twice": JACOBIAN,
    "log_det_overwritten": JACOBIAN,
    "log_det_in_float32": ("dtypes",),
    "log_det_detached": ("gradients are those of log p",),
    "inverse_log_det_of_forward": ("log-determinants of both directions",),
    "logit_without_margin": JACOBIAN,
    "uncounted_logit": ("every log-determinant counts",),
    "clamped_logit": INVERSE,
    "logit_in_place": ("inputs are left alone",),
    "permutation_applied_twice": INVERSE,
    "permutation_redrawn": RANDOM,
    "squeeze_in_another_order": INVERSE,
    "shift_after_scale": INVERSE,
    "conditioner_sees_all": (*INVERSE, *JACOBIAN),
    "coupling_with_cache": ("calls are independent",),
    "coupling_in_bfloat16": ("dtypes", *INVERSE, "images come back in float32"),
    "batchnorm_always_updating": STATE,
    "actnorm_without_memory": STATE,
    "split_redraws_latents": RANDOM,
    "split_drops_latents": INVERSE,
    "dropout_always": RANDOM,
    "statistics_of_the_batch": MIXED,
    "flow_always_training": (*STATE, *MIXED),
    "unnormalized_base": ("log p is that of z and the log-determinant",),
    "uniform_base": ("samples have the norm of the prior",),
    "undithered": SPIKES,
    "dither_in_wrong_units": (*SPIKES, "a tenth of a level of noise costs little"),
    "uncounted_scaling": ("bits per dimension are possible",),
    "standardized_before_logit": ("data lie in the unit interval",),
    "collapsed_latents": ("the norm of z is that of the prior", "dimensions of z are standard"),
    "overfitted": ("validation scores as training does",),
    "unbounded_scale": ("scales are bounded", "inputs that are no images stay finite"),
    "runaway_scales": ("images come back in float32", "neither direction explodes"),
    "no_variance_floor": ("normalisation does not magnify",),
}


def verdicts_of(case: Planted) -> list[Result]:
    """Return what is broken: laws that fail, then laws that warn."""
    held_out = small_images(case.flow.event_shape[-1]).held_out
    batch, train = (
        make_batch(case.flow, case.dequantizer, Images(levels, levels[:, 0, 0, 0].long() * 0), n, SEED)
        for levels, n in ((held_out, N_IMAGES), (case.levels, min(N_IMAGES, len(case.levels))))
    )
    found = list(diagnose(DiagnosisTask(case.flow, batch, train, case.dequantizer.is_discrete), CHECKS.values()))
    return [one for status in ("fail", "warn") for one in found if one.status == status]


def row(name: str, case: Planted) -> dict[str, Any]:
    """Return what the diagnosis says first of a case, and what else is broken."""
    broken = verdicts_of(case)
    first = broken[0]._asdict() if broken else {}
    print(
        f"{name}: {first.get('law', 'nothing')} ({first.get('status', 'pass')}) {first.get('figure', '')}", flush=True
    )
    return {
        "first": {key: first[key] for key in ("law", "status", "figure", "cause") if key in first},
        "others": [f"{one.law} ({one.status})" for one in broken[1:]],
    }


def main() -> None:
    """Diagnose every fault and every healthy flow."""
    correct = healthy_flow("multiscale")
    faults = {}
    for name, plant in FAULTS.items():
        found = row(name, plant(correct))
        faults[name] = {"truth": TRUTH[name], "named": found["first"].get("law") in NAMED_BY[name], **found}
    healthy = {}
    for name in HEALTHY:
        flow = healthy_flow(name)
        levels = small_images(flow.event_shape[-1]).train
        found = row(name, Planted(flow, UniformDequantizer(), levels))
        healthy[name] = {"alarm": found["first"].get("status") == "fail", **found}
    named, alarms = sum(one["named"] for one in faults.values()), sum(one["alarm"] for one in healthy.values())
    print(f"{named} of {len(faults)} faults named, {alarms} alarms on {len(healthy)} healthy flows")
    write_json(ROOT / "results" / "planted_faults.json", {"seed": SEED, "faults": faults, "healthy": healthy})


if __name__ == "__main__":
    main()
