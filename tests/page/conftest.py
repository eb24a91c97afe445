"""A small flow as the subject of a page."""

import pytest
import torch

from nf_mnist.data import Images, UniformDequantizer
from nf_mnist.flows import Flow
from nf_mnist.page.subject import Subject
from tests.support.registry import make_flow


def subject_of(flow: Flow, n_classes: int = 10) -> Subject:
    """Return a flow with random images, fewer for training than any page has."""
    draw = torch.Generator().manual_seed(5)
    sets = [
        Images(
            torch.randint(256, (n, *flow.event_shape), dtype=torch.uint8, generator=draw),
            torch.randint(n_classes, (n,), generator=draw),
        )
        for n in (6, 40)
    ]
    return Subject("small", flow.requires_grad_(False), UniformDequantizer(), *sets)


@pytest.fixture
def subject() -> Subject:
    return subject_of(make_flow("conditional", torch.float32))
