"""What the tab Complete shows: completions of a drawing as they arrive, their mean and their uncertainty."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from nf_mnist.errors import ConfigError, check_range
from nf_mnist.flows import Flow, FlowMatching
from nf_mnist.inpainting import HIDDEN, Completions, check_observed, make_observed
from nf_mnist.page.drawings import Drawing
from nf_mnist.page.fragments import figures, grey, with_hidden

MAX_COMPLETIONS = 64
Method = Callable[..., Completions]


def completing(flow: Flow) -> Flow:
    """Return the flow that completes images: of images of any class, if a flow with labels has learned these."""
    return flow.given_label(None) if flow.n_classes and flow.label_dropout else flow


def allowed_methods(flow: Flow) -> list[str]:
    """Return the names of the methods that complete images with a flow, the best first; none with class labels."""
    if flow.n_classes:
        return []
    if flow.takes_observed_pixels:
        return ["amortized"]
    if isinstance(flow, FlowMatching):
        return ["replacement"]
    if flow.bijector.is_continuous:
        return ["mode", "posterior"]
    return ["crank_nicolson"] if flow.bijector.is_autoregressive else []


def hide(drawing: Drawing, part: str, seed: int) -> Drawing:
    """Return a drawing of which a part is hidden, and nothing else.

    Args:
        drawing: The drawing.
        part: Name of the part, a key of :data:`~nf_mnist.inpainting.HIDDEN`.
        seed: Seed of random parts.

    Raises:
        ConfigError: If there is no part of this name.
    """
    if part not in HIDDEN:
        raise ConfigError(f"there is no part {part!r}; choose one of {', '.join(HIDDEN)}")
    return drawing._replace(hidden=~make_observed(part, tuple(drawing.levels.shape), seed))


def passes(n: int, name: str) -> list[int]:
    """Return how many completions each call of a method makes.

    Each call of ``amortized`` makes as many as there are already, so that the first arrives soon and few calls are
    needed. The other methods are slow, and make one completion from a fresh start in each call.
    """
    if name != "amortized":
        return [1] * n
    sizes, done = [], 0
    while done < n:
        sizes.append(min(max(done, 1), n - done))
        done += sizes[-1]
    return sizes


def complete(flow: Flow, name: str, method: Method, drawing: Drawing, n: int, seed: int) -> Iterator[Tensor]:
    """Yield the completions that there are after each call of a method, in [0, 1], shape (k, 1, height, width).

    Levels are taken at the middle of their boxes: the observed pixels of all completions are the same.

    Args:
        flow: The flow.
        name: Name of the method, one of :func:`allowed_methods`.
        method: The method, with its settings bound.
        drawing: The drawing.
        n: Number of completions.
        seed: Seed of everything that is drawn at random.

    Raises:
        ConfigError: If n is out of range.
        ShapeError: If nothing is hidden, or everything.
    """
    check_range(1, MAX_COMPLETIONS, completions=n)
    observed = ~drawing.hidden
    check_observed(observed, flow.event_shape)
    reference = next(flow.parameters())
    x = ((drawing.levels[None].to(reference) + 0.5) / 256).to(reference)
    observed = observed.to(x.device)
    generator = torch.Generator().manual_seed(seed)
    found: list[Tensor] = []
    for size in passes(n, name):
        found.append(method(flow, x, observed, n_samples=size, generator=generator).x[:, 0].cpu())
        yield torch.cat(found)


def completion_figures(drawing: Drawing, completed: Tensor, n: int) -> tuple[str, str]:
    """Return the drawing with mean and uncertainty of its completions, and the completions, as HTML.

    Args:
        drawing: The drawing.
        completed: The completions so far, in [0, 1], shape (k, 1, height, width).
        n: Number of completions that were asked for.
    """
    k = len(completed)
    summary = {"given, hidden in blue": with_hidden(drawing), f"mean of {k}": grey(completed.mean(0))}
    if k > 1:
        deviation = completed.std(0)  # 1/2 at most
        summary["twice the standard deviation"] = grey(2 * deviation)
        mean_deviation = deviation[drawing.hidden].mean().item()
        sentence = f"{k} of {n} completions; mean standard deviation of a hidden pixel: {mean_deviation:.4f}"
    else:
        sentence = f"1 of {n} completions"
    each = {f"completion {number}": grey(image) for number, image in enumerate(completed, 1)}
    return figures("summary of the completions", summary, [sentence]), figures("completions", each)
