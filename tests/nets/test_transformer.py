"""The transformer over groups of pixels uses labels as context, and refuses a context without conditioning."""

import pytest
import torch

from nf_mnist.errors import ConfigError
from nf_mnist.flows.geometry import pixel_groups
from nf_mnist.nets import GroupedTransformer


def test_a_context_without_conditioning_is_refused():
    net = GroupedTransformer(pixel_groups(4, 4, 2), 2, 8, 1, 2, 5)
    x = torch.randn(3, 2, 4, 4)
    assert net(x).shape == (3, 5, 4, 4)
    with pytest.raises(ConfigError, match="not conditioned on anything"):
        net(x, torch.zeros(3, dtype=torch.int64))


def test_labels_shift_content_and_queries():
    net = GroupedTransformer(pixel_groups(4, 4, 2), 2, 8, 1, 2, 5, n_classes=3)
    torch.nn.init.normal_(net.label.weight)
    torch.nn.init.normal_(net.proj_out.weight)
    x, labels = torch.randn(1, 2, 4, 4).repeat(2, 1, 1, 1), torch.tensor([0, 1])
    first, second = net(x, labels)
    assert not torch.allclose(first, second)
