"""Flows of other libraries, through the adapters: their properties, and their defects, which stay visible."""

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from nf_mnist.adapters import FromFrEIA, FromNflows, FromNormflows, FromZuko
from nf_mnist.bijectors import Bijector, Flatten, Logit, Sequential
from nf_mnist.checkpoints.reading import load_weights
from nf_mnist.errors import ConfigError
from nf_mnist.flows import Flow
from tests.nets.test_contractive import spectral_norm
from tests.support.registry import GREY, IMAGE, events, unsettle

FACTOR = 3.0
SMALL = (1, 4, 4)


class Scaled(nn.Module):
    """A stand-in for a map ``y = 3 x`` that follows the conventions of both normflows and nflows."""

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return FACTOR * z, self.log_det(z)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z / FACTOR, -self.log_det(z)

    def log_det(self, z: Tensor) -> Tensor:
        return torch.full_like(z, FACTOR).log().flatten(1).sum(1)


class TwoScales(Scaled):
    """A stand-in for a multi-scale model of normflows with two latents, the first from the second row."""

    def forward_and_log_det(self, z: list[Tensor]) -> tuple[Tensor, Tensor]:
        return self.forward(torch.cat([z[1], z[0]], 2))

    def inverse_and_log_det(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        z, log_det = self.inverse(x)
        return [z[:, :, 1:], z[:, :, :1]], log_det


class Network(Scaled):
    """A stand-in for a graph of FrEIA with two outputs, the first from the second row."""

    global_out_shapes: ClassVar = [(1, 3, 4), (1, 1, 4)]

    def forward(self, x: Any, c: tuple[Tensor, ...], rev: bool = False) -> tuple[Any, Tensor]:
        if rev:
            return self.inverse(torch.cat([x[1], x[0]], 2))
        z, log_det = super().forward(x)
        return (z[:, :, 1:], z[:, :, :1]), log_det


class Lazy(nn.Module):
    """A stand-in for a lazy flow of zuko: a call returns an object with a transform."""

    def forward(self, context: Tensor | None) -> nn.Module:
        made = nn.Module()
        made.transform = torch.distributions.AffineTransform(0.0, FACTOR)
        for transform in (made.transform, made.transform.inv):
            transform.call_and_ladj = lambda x, t=transform: (t(x), t.log_abs_det_jacobian(x, t(x)))
        return made


def normflows_glow() -> Bijector:
    nf = pytest.importorskip("normflows")
    blocks = [nf.flows.GlowBlock(4, 8, init_zeros=False) for _ in range(2)]
    return FromNormflows(nf.NormalizingFlow(None, [*blocks, nf.flows.Squeeze()]))


def normflows_multiscale() -> Bijector:
    nf = pytest.importorskip("normflows")
    levels = [[nf.flows.GlowBlock(c, 8, init_zeros=False), nf.flows.Squeeze()] for c in (8, 4)]
    flow = nf.MultiscaleFlow([nn.Identity(), nn.Identity()], levels, [nf.flows.Merge()], class_cond=False)
    return FromNormflows(flow, latent_shapes=[(8, 1, 1), (2, 2, 2)])


def nflows_glow() -> Bijector:
    transforms = pytest.importorskip("nflows.transforms")
    nets = pytest.importorskip("nflows.nn.nets")
    mask = torch.tensor([1, 0, 1, 0])
    coupling = transforms.AffineCouplingTransform(mask, lambda i, o: nets.ConvResidualNet(i, o, hidden_channels=8))
    layers = [transforms.SqueezeTransform(), transforms.ActNorm(4), transforms.OneByOneConvolution(4), coupling]
    return FromNflows(transforms.CompositeTransform(layers))


def zuko_spline() -> Bijector:
    zuko = pytest.importorskip("zuko")
    return Sequential([Flatten(SMALL), FromZuko(zuko.flows.NSF(16, transforms=2, hidden_features=(16,)))])


def freia_glow() -> Bijector:
    framework, modules = pytest.importorskip("FrEIA.framework"), pytest.importorskip("FrEIA.modules")
    network = framework.SequenceINN(*SMALL)
    network.append(modules.HaarDownsampling)
    for _ in range(2):
        network.append(modules.AllInOneBlock, subnet_constructor=lambda i, o: nn.Conv2d(i, o, 3, padding=1))
    return FromFrEIA(network.to(torch.get_default_dtype()))  # its permutations are in float32 whatever the default is


def freia_multiscale() -> Bijector:
    framework, modules = pytest.importorskip("FrEIA.framework"), pytest.importorskip("FrEIA.modules")
    begin = framework.InputNode(*SMALL)
    squeezed = framework.Node(begin, modules.IRevNetDownsampling, {})
    halves = framework.Node(squeezed, modules.Split, {})
    outputs = [framework.OutputNode(half) for half in (halves.out0, halves.out1)]
    return FromFrEIA(framework.GraphINN([begin, squeezed, halves, *outputs]))


STAND_INS = {
    "normflows": lambda: FromNormflows(Scaled()),
    "normflows_multiscale": lambda: FromNormflows(TwoScales(), latent_shapes=[(1, 3, 4), (1, 1, 4)]),
    "nflows": lambda: FromNflows(Scaled()),
    "freia": lambda: FromFrEIA(Network()),
    "zuko": lambda: FromZuko(Lazy()),
}
LIBRARIES = {
    build.__name__: build
    for build in (normflows_glow, normflows_multiscale, nflows_glow, zuko_spline, freia_glow, freia_multiscale)
}
BUILDERS = {**{f"stand_in_{name}": build for name, build in STAND_INS.items()}, **LIBRARIES}


def jacobian_log_det(function, value: Tensor) -> Tensor:
    """Return log|det| of the Jacobian at each event, in reverse mode because the libraries write in place."""

    def flat(event: Tensor) -> Tensor:
        return function(event.reshape(1, *value.shape[1:])).flatten()

    jacobians = [torch.autograd.functional.jacobian(flat, event.flatten()) for event in value]
    return torch.stack([torch.linalg.slogdet(jacobian).logabsdet for jacobian in jacobians])


@pytest.mark.parametrize("name", BUILDERS)
def test_adapted_flows_invert_and_count_the_jacobian(name, float64):
    bijector, x = BUILDERS[name](), events(SMALL, n=3)
    bijector(events(SMALL, n=64))  # data-dependent initialisation
    bijector.eval()
    z, log_det = bijector(x)
    back, log_det_back = bijector.inverse_and_log_det(z)
    assert_close(back, x, atol=1e-6, rtol=0)  # zuko inverts autoregressive maps in passes, and splines by root finding
    assert_close(log_det, jacobian_log_det(lambda v: bijector(v)[0], x), atol=1e-6, rtol=0)
    assert_close(log_det_back, -log_det, atol=1e-5, rtol=0)
    assert log_det.shape == (3,)


@pytest.mark.parametrize("name", STAND_INS)
def test_directions_are_those_of_each_library(name):
    bijector, x = STAND_INS[name](), events(SMALL, n=2)
    z, log_det = bijector(x)
    factor = 1 / FACTOR if name.startswith("normflows") else FACTOR  # normflows' forward makes data
    assert_close(z.flatten(1).sum(1), factor * x.flatten(1).sum(1))
    assert_close(log_det, torch.full_like(log_det, factor).log() * 16)


def test_a_flow_of_images_is_built_around_an_adapter():
    flow = Flow(Sequential([Logit(), FromNormflows(Scaled()), Flatten(GREY)]), GREY).double()
    x = events(GREY)
    z, log_prob = flow(x)
    assert z.shape == (len(x), 64)
    assert log_prob.shape == (len(x),)
    assert_close(flow.decode(z), x)


@pytest.mark.parametrize("adapter", [FromNormflows, FromNflows])
def test_what_has_no_inverse_is_refused(adapter):
    with pytest.raises(ConfigError, match="Linear has no method"):
        adapter(nn.Linear(2, 2)).inverse_and_log_det(torch.zeros(1, 2))


def test_normflows_counts_in_float32():
    nf = pytest.importorskip("normflows")
    for compose in (nf.flows.Composite, lambda flows: nf.NormalizingFlow(None, flows)):
        flow = compose([nf.flows.AffineConstFlow((4, 1, 1)) for _ in range(2)])
        z, log_det = FromNormflows(unsettle(flow).double())(events(IMAGE))
        assert z.dtype == torch.float64
        assert log_det.dtype == torch.float32


def test_nflows_batchnorm_magnifies_before_it_was_trained():
    normalization = pytest.importorskip("nflows.transforms.normalization")
    bijector = FromNflows(normalization.BatchNorm(12)).eval()
    _, log_det = bijector(events((12,)))
    assert_close(log_det, torch.full_like(log_det, -6 * torch.tensor(1e-5).log().item()), rtol=1e-3, atol=0)


def test_normflows_residual_flows_stay_invertible_in_training_and_their_weights_are_loaded():
    nf = pytest.importorskip("normflows")

    def build() -> FromNormflows:
        net = nf.nets.LipschitzCNN([1, 8, 1], [3, 3], 0.9, max_lipschitz_iter=20, init_zeros=False)
        return FromNormflows(nf.NormalizingFlow(None, [nf.flows.Residual(net)]))

    trained, x = build(), events(SMALL, dtype=torch.float32)
    trained(x)
    layers = [layer for layer in trained.modules() if hasattr(layer, "compute_weight")]
    with torch.no_grad():
        for layer in layers:
            layer.weight *= 30
    trained(x)
    norms = [spectral_norm(layer.compute_weight(update=False).detach(), (4, 4)).item() for layer in layers]
    assert max(norms) < 0.95
    other = build()
    load_weights(other, {"state_dict": {f"flow.{key}": value for key, value in trained.state_dict().items()}}, "here")
    assert_close(other.eval().inverse_and_log_det(x)[0], trained.eval().inverse_and_log_det(x)[0])


class AveragingCoupling(Scaled):
    """A copy of a defect in TarFlow's blocks, which return the mean of log-scales over tokens and channels."""

    def log_det(self, z: Tensor) -> Tensor:
        return super().log_det(z) / z[0].numel()


def test_an_averaged_log_det_is_passed_on_as_it_is(float64):
    bijector, x = FromNflows(AveragingCoupling()), events(IMAGE, n=2)
    _, log_det = bijector(x)
    assert_close(64 * log_det, jacobian_log_det(lambda v: bijector(v)[0], x))
