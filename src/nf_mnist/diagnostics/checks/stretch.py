"""Checks of how far the map stretches values: those of inputs that are no images, and differences between images."""

import math

import torch

from nf_mnist.diagnostics.access.layers import WithContext
from nf_mnist.diagnostics.access.messages import first_line, raised
from nf_mnist.diagnostics.base import Measurement, NotMeasured, check
from nf_mnist.diagnostics.checks.contract import SOUND, same_input_same_output
from nf_mnist.diagnostics.checks.map import inverse_undoes_forward
from nf_mnist.diagnostics.checks.numbers import images_come_back
from nf_mnist.diagnostics.measures.jacobian import stretch
from nf_mnist.diagnostics.task import DiagnosisTask


@check(
    "inputs that are no images stay finite",
    unit="of the pixels are not finite or beyond [-1, 2]",
    warn=0.1,
    fail=0.1,
    cause="outside the data, scales or normalisations overflow",
    remedy="bound the log-scales, or train at a lower rate with clipped gradients",
    overrides=(
        "model.flow.scale_activation=tanh",
        "trainer.gradient_clip_val=100",
    ),
    needs=(*SOUND, inverse_undoes_forward, images_come_back),
)
def inputs_that_are_no_images_stay_finite(task: DiagnosisTask) -> Measurement:
    """The inputs are 14 images of uniform noise, a black one and a white one. They need not come back exactly.

    A flow may refuse them by an exception, which is no answer that somebody could take for a likelihood.
    """
    few = task.batch.first(16)
    noise = torch.rand(few.x.shape, generator=torch.Generator().manual_seed(task.seed)).to(few.x)
    noise[0], noise[1] = 0.5 / 256, 255.5 / 256
    try:
        with torch.no_grad():
            back = task.flow.decode(task.flow.encode(noise, few.context), few.context)
    except Exception as error:  # a user's flow may fail in any way
        raise NotMeasured(f"for noise, black or white images the flow {raised(error)}") from error
    size = 1 - ((back >= -1) & (back <= 2)).double().mean().item()
    changed = ((back - noise).abs() > 0.5 / 256).double().mean().item()
    return Measurement(size, f"{size:.2g} of the pixels not finite or beyond [-1, 2]; {changed:.2g} on another level")


@check(
    "neither direction explodes",
    unit="decades of stretch",
    warn=7.0,
    fail=10.0,
    cause="a scale or a normalisation divides by almost 0: an exploding inverse or forward map",
    remedy="bound the log-scales, normalise by ActNorm, and dequantize",
    overrides=(
        "model.flow.scale_activation=tanh",
        "model.norm=actnorm",
        "data.dequantizer=uniform",
    ),
    needs=(*SOUND, same_input_same_output),
)
def neither_direction_explodes(task: DiagnosisTask) -> Measurement:
    """The largest singular value of the Jacobians of both directions at one image, as a power of ten.

    Float32 has seven digits: after a stretch by more than 1e7, rounding changes z or x by 1. A logit alone stretches a
    black pixel by up to 1e5.
    """
    flow, few = task.precise
    event = few.first(1)
    try:
        both = stretch(WithContext(flow.bijector, event.context), event.x, n_iterations=10)
    except (RuntimeError, NotImplementedError) as error:
        raise NotMeasured(f"autograd cannot take products with this Jacobian: {first_line(error)}") from error
    if math.isnan(both.forward) or math.isnan(both.inverse):
        raise NotMeasured("autograd sees nothing of one direction")
    size = torch.tensor(both).clamp(min=1e-300).log10().max().item()
    return Measurement(size, f"forward {both.forward:.2g}, inverse {both.inverse:.2g}")


STRETCH = (inputs_that_are_no_images_stay_finite, neither_direction_explodes)
