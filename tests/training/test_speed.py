"""Fast settings change no result, training does not wait for the device, and imports stay cheap."""

import copy
import json
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Iterable
from statistics import mean

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from nf_mnist.app import completion, sampling
from nf_mnist.flows import Flow
from nf_mnist.nets import normed_conv
from tests.support.helpers import fit, run_command, tiny_overrides, write_images
from tests.support.registry import FLOWS, events, unsettle

MODELS = ("resflow_batchnorm", "cp3", "realnvp", "glow", "spline", "uva_multiscale", "hierarchical")
WAITING = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default}
EVERY = 10  # steps between two that are logged, of conf/trainer and conf/callbacks


def flow_and_batch(name: str) -> tuple[Flow, Tensor]:
    torch.manual_seed(0)
    flow = unsettle(FLOWS[name]()).train()
    x = events(flow.event_shape, n=32, dtype=torch.float32)
    flow.log_prob(x)  # initializes what is set by the first batch
    return flow, x


def gradient(flow: Flow, x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return the gradient of the mean log-likelihood as one vector, and leave the flow unchanged."""
    flow = copy.deepcopy(flow)
    with torch.autocast("cpu", dtype, enabled=dtype is not None):
        log_prob = flow.log_prob(x)
    log_prob.mean().backward()
    return torch.cat([value.grad.flatten() for value in flow.parameters() if value.grad is not None])


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return ((actual - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("name", ["glow", "spline", "hierarchical"])
def test_gradients_in_bfloat16_are_those_of_float32(name):
    flow, x = flow_and_batch(name)
    assert 0 < relative_error(gradient(flow, x, torch.bfloat16), gradient(flow, x)) < 2e-2


@pytest.mark.parametrize("name", MODELS)
def test_bfloat16_changes_a_gradient_less_than_the_choice_of_images_does(name):
    flow, x = flow_and_batch(name)
    halves = [gradient(flow, half) for half in x.chunk(2)]
    by_rounding = (gradient(flow, x, torch.bfloat16) - gradient(flow, x)).norm()
    assert by_rounding < (halves[1] - halves[0]).norm() / 4


def test_gradients_with_statistics_of_patches_are_those_of_the_layers(monkeypatch):
    flow, x = flow_and_batch("resflow")
    gradients = []
    for least_saving in (0, sys.maxsize):
        monkeypatch.setattr(normed_conv, "MIN_CHANNELS_PER_ELEMENT", least_saving)
        gradients.append(gradient(flow, x))
    assert 0 < relative_error(*gradients) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resflow", "glow", "hierarchical"])
def test_gradients_of_compiled_networks_are_those_of_eager_ones(name):
    flow, x = flow_and_batch(name)
    expected = gradient(flow, x)
    for part in flow.modules():
        if type(part).__module__.startswith("nf_mnist.nets"):
            part.compile()
    assert relative_error(gradient(flow, x), expected) < 1e-5


@pytest.mark.slow
def test_a_training_in_bfloat16_ends_where_one_in_float32_does_within_the_noise_of_seeds(tmp_path):
    images = write_images(tmp_path / "images.npz", n=400)
    reached: dict[str, list[float]] = {"32-true": [], "bf16-mixed": []}
    for precision, bpds in reached.items():
        for seed in range(3):
            base = tiny_overrides(images, tmp_path / f"{precision}-{seed}")
            settings = ["trainer.max_steps=60", "trainer.val_check_interval=60", "logger.tensorboard=null"]
            trained = fit([*base, *settings, f"trainer.precision={precision}", f"seed={seed}"])
            bpds.append(trained.trainer.callback_metrics["val/bpd"].item())
    noise = max(reached["32-true"]) - min(reached["32-true"])
    assert abs(mean(reached["bf16-mixed"]) - mean(reached["32-true"])) < noise


class Watch(TorchDispatchMode):
    """Records whose code reads the value of a tensor, for which a GPU would have to finish all its work."""

    OWNERS = ("nf_mnist", "lightning", "torch/optim")

    def __init__(self) -> None:
        super().__init__()
        self.step = 0
        self.waits: Counter[tuple[int, str]] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in WAITING:
            files = [frame.filename for frame in reversed(traceback.extract_stack())]
            self.waits[self.step, next(owner for file in files for owner in self.OWNERS if f"/{owner}/" in file)] += 1
        return func(*args, **(kwargs or {}))


class CountSteps(L.Callback):
    """Tells the watch the number of the step; it must be the first callback, so that it sees each step first."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.watch.step = trainer.global_step + 1


def waits_in_training(tmp_path, *overrides: str, callbacks: tuple[L.Callback, ...] = ()) -> Counter[tuple[int, str]]:
    images = write_images(tmp_path / "images.npz", n=2000)
    watch = Watch()
    settings = [
        "trainer.max_steps=100",
        "model.flow.n_scales=1",
        "data.n_validation=200",
        "trainer.limit_val_batches=1",
        *overrides,
    ]
    with watch:
        fit([*tiny_overrides(images, tmp_path / "run"), *settings], [CountSteps(watch), *callbacks])
    return watch.waits


@pytest.mark.parametrize("norm", [pytest.param("batchnorm", marks=pytest.mark.slow), "actnorm"])
def test_no_step_waits_for_the_device_but_those_that_are_logged(norm, tmp_path):
    waits = waits_in_training(tmp_path, f"model.norm={norm}")
    # Adam's own counters of steps lie on the CPU, whatever the device.
    steps = {step for step, owner in waits if owner != "torch/optim"}
    assert steps - {0, 1} == set(range(EVERY, 101, EVERY)), "the first step sets activation normalizations"


def test_the_watch_sees_a_callback_that_waits(tmp_path):
    class Waits(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            float(outputs["loss"])

    waits = waits_in_training(tmp_path, "trainer.max_steps=5", callbacks=(Waits(),))
    assert {step for step, owner in waits if owner != "torch/optim"} >= {2, 3, 4, 5}


def test_bijectors_import_nothing_heavy_but_torch():
    heavy = ("lightning", "hydra", "omegaconf", "torchvision", "matplotlib", "tensorboard", "rich", "scipy")
    check = f"import sys, nf_mnist.bijectors; sys.exit(' '.join({set(heavy)} & sys.modules.keys()) or 0)"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=300)


def sizes(modules: Iterable[nn.Module]) -> list[int]:
    return sorted(sum(value.numel() for value in module.parameters()) for module in modules)


@pytest.mark.parametrize("kind", ["glow", "realnvp", "flat", "residual", "maf", "continuous"])
def test_flows_of_other_libraries_are_of_the_same_size(kind):
    models = pytest.importorskip("benchmarks.speed.peers_models")
    x = events(models.EVENT, n=2, dtype=torch.float32)
    flows = {}
    for library in models.BUILDERS[kind]:
        pytest.importorskip(library)
        flow = models.build(kind, library)
        flow.log_prob(x)
        flow.eval()
        with torch.no_grad():
            assert (flow.decode(flow.encode(x)) - x).abs().max() < 1e-3
        flows[library] = flow
    ours = flows.pop("nf_mnist")
    for flow in flows.values():
        assert sizes(models.conditioners(flow)) == sizes(models.conditioners(ours))
        assert sizes([flow])[0] == pytest.approx(sizes([ours])[0], rel=2e-3)


PRECISIONS = [("32-true", torch.float32, False), ("bf16-mixed", torch.float32, True), ("64-true", torch.float64, False)]
SAMPLE = ("sample", sampling, "draw_levels", ["n=2", "out={}/grid.png"], "grid.json")
INPAINT = ("inpaint", completion, "measure", ["n_images=2", "method.n_steps=2", "out={}/found"], "found/metrics.json")


@pytest.mark.parametrize(
    ("command", "package", "works", "options", "metrics", "precision", "dtype", "is_mixed"),
    [
        *((*SAMPLE, *precision) for precision in PRECISIONS),
        (*INPAINT, *PRECISIONS[0]),
        *(pytest.param(*INPAINT, *precision, marks=pytest.mark.slow) for precision in PRECISIONS[1:]),
    ],
)
def test_a_command_works_in_the_precision_that_is_asked_for(
    command, package, works, options, metrics, precision, dtype, is_mixed, tmp_path, monkeypatch
):
    work, seen = getattr(package, works), []

    def watched(*args, **settings):
        flow = next(value for value in args if isinstance(value, Flow))
        seen.append((next(flow.parameters()).dtype, torch.is_autocast_enabled("cpu")))
        return work(*args, **settings)

    monkeypatch.setattr(package, works, watched)
    settings = ["ckpt=pretrained:resflow", f"precision={precision}", "device=cpu", f"output_dir={tmp_path}/run"]
    finished = run_command(command, *settings, *(value.format(tmp_path) for value in options))
    assert finished.code == 0, finished.err
    assert seen == [(dtype, is_mixed)]
    assert json.loads((tmp_path / metrics).read_text())["precision"] == precision
