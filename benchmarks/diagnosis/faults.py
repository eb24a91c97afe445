"""Does the diagnosis name planted faults, and leave healthy flows alone? ``python -m benchmarks.diagnosis.faults``.

The faults and the healthy flows were written by someone who had not read the checks. :data:`NAMED_BY` lists the checks
that name each fault. A fault is named rightly if the first check that fails, or else the first that warns, is one of
these. An alarm is a check that fails on a healthy flow. Writes ``results/planted_faults.json``.
"""

from pathlib import Path
from typing import Any

from benchmarks.diagnosis.healthy_flows import HEALTHY, healthy_flow, small_images
from benchmarks.diagnosis.planted_faults import FAULTS, TRUTH
from benchmarks.diagnosis.planting import Planted, planted
from nf_mnist.checkpoints.writing import write_json
from nf_mnist.data import Images
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
    "collapsed_latents": (
        "latents have not collapsed",
        "the norm of z is that of the prior",
        "dimensions of z are standard",
    ),
    "overfitted": ("validation scores as training does",),
    "unbounded_scale": ("scales are bounded", "inputs that are no images stay finite"),
    "runaway_scales": ("images come back in float32", "neither direction explodes"),
    "no_variance_floor": ("normalisation does not magnify",),
}


def violations_of(case: Planted) -> list[Result]:
    """Return the results of the checks that fail, then of those that warn."""
    held_out = small_images(case.flow.event_shape[-1]).held_out
    batch, train = (
        make_batch(case.flow, case.dequantizer, Images(levels, levels[:, 0, 0, 0].long() * 0), n, SEED)
        for levels, n in ((held_out, N_IMAGES), (case.levels, min(N_IMAGES, len(case.levels))))
    )
    results = list(diagnose(DiagnosisTask(case.flow, batch, train, case.dequantizer.is_discrete), CHECKS))
    return [result for status in ("fail", "warn") for result in results if result.status == status]


def row(name: str, case: Planted) -> dict[str, Any]:
    """Return the first violation that the diagnosis reports, and the names of the others."""
    violations = violations_of(case)
    first = violations[0]._asdict() if violations else {}
    said = f"{first['check']} ({first['status']}) {first['measured']}" if first else "nothing (pass)"
    print(f"{name}: {said}", flush=True)
    return {
        "first": {key: first[key] for key in ("check", "status", "measured", "cause") if key in first},
        "others": [f"{result.check} ({result.status})" for result in violations[1:]],
    }


def main() -> None:
    """Diagnose every fault and every healthy flow."""
    correct = healthy_flow("multiscale")
    faults = {}
    for name, plant in FAULTS.items():
        diagnosed = row(name, plant(correct))
        is_named = diagnosed["first"].get("check") in NAMED_BY[name]
        faults[name] = {"truth": TRUTH[name], "named": is_named, **diagnosed}
    healthy = {}
    for name in HEALTHY:
        flow = healthy_flow(name)
        diagnosed = row(name, planted(flow))
        healthy[name] = {"alarm": diagnosed["first"].get("status") == "fail", **diagnosed}
    n_named, n_alarms = sum(each["named"] for each in faults.values()), sum(each["alarm"] for each in healthy.values())
    print(f"{n_named} of {len(faults)} faults named, {n_alarms} alarms on {len(healthy)} healthy flows")
    write_json(ROOT / "results" / "planted_faults.json", {"seed": SEED, "faults": faults, "healthy": healthy})


if __name__ == "__main__":
    main()
