"""The causal transformer: what it sees, what it caches, and what guidance makes of it."""

import pytest
import torch
from torch.testing import assert_close

from nf_mnist.errors import ConfigError
from nf_mnist.nets import NO_LABEL, CausalTransformer, GuidedTransformer
from tests.support.registry import unsettle

LABELS = torch.tensor([0, 2, NO_LABEL])


def transformer(n_classes: int = 0) -> CausalTransformer:
    return unsettle(CausalTransformer(6, 4, 16, 3, 2, 8, n_classes)).double()


def patches() -> torch.Tensor:
    return torch.randn(3, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_predictions_are_zero_before_training():
    assert not CausalTransformer(6, 4, 16, 1, 2, 8)(patches().float()).any()


def test_a_patch_changes_only_predictions_for_later_patches():
    net, x = transformer(), patches()
    before = net(x)
    for j in range(6):
        changed = x.clone()
        changed[:, j] += 1
        difference = (net(changed) - before).abs().amax((0, 2))  # of predictions for the patches 1 to 5
        assert not difference[:j].any(), "no peeking"
        assert (difference[j:] > 0).all(), "all later predictions depend on the patch"


@pytest.mark.parametrize("context", [None, LABELS], ids=["without labels", "with labels"])
@pytest.mark.parametrize("is_guided", [False, True])
def test_predictions_with_cached_keys_and_values_are_those_of_one_pass(context, is_guided):
    net, x = transformer(0 if context is None else 3), patches()
    net = GuidedTransformer(net, 0.5, 1.3) if is_guided else net
    predict = net.next_prediction(context)
    assert_close(torch.stack([predict(patch) for patch in x.unbind(1)[:-1]], 1), net(x, context))


def test_a_missing_label_is_the_mean_over_the_classes():
    net, x = transformer(3), patches()
    hidden = net(x, torch.full((3,), NO_LABEL))
    assert not torch.allclose(hidden, net(x, torch.zeros(3, dtype=torch.int64)))
    with torch.no_grad():
        net.label.weight.copy_(net.label.weight.mean(0).expand(3, -1))
    assert_close(net(x, torch.zeros(3, dtype=torch.int64)), hidden)


def test_guidance_moves_predictions_away_from_those_without_labels():
    net, x = transformer(3), patches()
    labels = torch.tensor([0, 1, 2])
    given, hidden = net(x, labels), net(x, torch.full_like(labels, NO_LABEL))
    assert_close(GuidedTransformer(net, 2.0, 1.0)(x, labels), 3 * given - 2 * hidden)
    assert_close(GuidedTransformer(net, 0.0, 1.0)(x, labels), given)


def test_attention_at_another_temperature_changes_predictions():
    net, x = transformer(), patches()
    blurred = net(x, temperature=3.0)
    assert not torch.allclose(blurred, net(x))
    assert_close(GuidedTransformer(net, 1.0, 3.0)(x), 2 * net(x) - blurred)


def test_what_cannot_be_built_or_conditioned_is_refused():
    with pytest.raises(ConfigError, match="multiple of transformer_heads=3"):
        CausalTransformer(6, 4, 16, 1, 3, 8)
    with pytest.raises(ConfigError, match="smaller patch_size"):
        CausalTransformer(1, 4, 16, 1, 2, 8)
    with pytest.raises(ConfigError, match="not conditioned on anything"):
        transformer()(patches(), torch.zeros(3, dtype=torch.int64))
