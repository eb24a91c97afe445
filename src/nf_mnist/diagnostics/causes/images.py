"""What makes two sets of images differ as they do, in words, from the differences of their statistics."""

from collections.abc import Callable, Mapping

from nf_mnist.diagnostics.measures.image_statistics import (
    COLUMN,
    HEIGHT,
    LIT,
    MEAN,
    N_LEVELS,
    OFF_CENTRE,
    ROW,
    SATURATED,
    SHARPNESS,
    WIDTH,
    Difference,
)

OF_OTHER_KINDS = (
    "the images differ from the training images: among them are classes or kinds that the training images lack, as "
    "where the first images of a sorted file are those for training; they lie nearer to one another than to training "
    "images"
)
SHUFFLE = "shuffle all images before they are split"
NOTABLE = 0.5  # deviations
MUCH_MORE = 3.0  # times, by which noise lights more pixels than it makes images brighter
AREA = 1.35  # factor by which brightness may differ from the area of what is enlarged
NEARLY_ALL = 0.95  # share of the pixels
NOTHING = Difference(0.0, 0.0, 0.0)
Found = Mapping[str, Difference]


def how_they_differ(found: Found) -> str:
    """Return how images differ from the training images, in words; empty if no known cause fits.

    Args:
        found: The differences of their statistics, by name.
    """
    return next((words for words in (kind(found) for kind in KINDS) if words), "")


def facts(found: Found, n: int = 3) -> str:
    """Return the largest notable differences with their numbers, at most n of them; empty if there are none."""
    notable = sorted((name for name in found if _sign(found, name)), key=lambda name: -abs(found[name].size))
    return ", ".join(f"{name} {_both(found, name)}" for name in notable[:n])


def _sign(found: Found, name: str) -> int:
    """Return 1 if a statistic is notably larger than in training, -1 if smaller, and 0 otherwise or if not known."""
    size = _size(found, name)
    return (size > NOTABLE) - (size < -NOTABLE)


def _size(found: Found, name: str) -> float:
    return found.get(name, NOTHING).size


def _both(found: Found, name: str) -> str:
    return f"{found[name].scored:.3g}, in training {found[name].train:.3g}"


def _ratio(found: Found, name: str) -> float:
    return found[name].scored / max(found[name].train, 1e-9)


def _black_and_white(found: Found) -> str:
    levels = found[N_LEVELS]
    if not _sign(found, N_LEVELS) or min(levels.scored, levels.train) > 2:
        return ""
    is_scored = levels.scored <= 2
    return "black and white only" if is_scored else "in grey levels, those of the training are black and white only"


def _noisy(found: Found) -> str:
    """Noise lights many pixels a little, and makes neighbours differ."""
    lights = _sign(found, LIT) > 0 and _size(found, LIT) > MUCH_MORE * abs(_size(found, MEAN))
    scatters = _sign(found, SHARPNESS) > 0 and _sign(found, HEIGHT) + _sign(found, WIDTH) > 0
    if _size(found, SHARPNESS) < 0 or not (lights or scatters):
        return ""
    black, in_training = 1 - found[LIT].scored, 1 - found[LIT].train
    return f"noisy: {black:.0%} of the pixels are black, in training {in_training:.0%}"


def _without_black(found: Found) -> str:
    if _sign(found, LIT) <= 0 or found[LIT].scored < NEARLY_ALL:
        return ""
    return f"without a black background: mean level {_both(found, MEAN)}"


def _of_another_size(found: Found) -> str:
    """What is enlarged gets brighter with the area of its box, and less sharp; what is shrunk the opposite."""
    sides = _size(found, HEIGHT), _size(found, WIDTH)
    is_moved = max(abs(_size(found, ROW)), abs(_size(found, COLUMN))) > max(map(abs, sides))
    if sides[0] * sides[1] <= 0 or is_moved:
        return ""
    larger = 1 if sides[0] > 0 else -1
    unexplained = _ratio(found, MEAN) / (_ratio(found, HEIGHT) * _ratio(found, WIDTH))
    if _sign(found, MEAN) != larger or _size(found, SHARPNESS) * larger >= 0 or not 1 / AREA < unexplained < AREA:
        return ""
    boxes = (f"{height:.3g} x {width:.3g}" for height, width in zip(found[HEIGHT][:2], found[WIDTH][:2], strict=True))
    return "of another size or margin: what is lit is {} pixels large, in training {}".format(*boxes)


def _blurred(found: Found) -> str:
    if not _sign(found, SHARPNESS) or _sign(found, MEAN):
        return ""
    how = "blurred or resized" if _sign(found, SHARPNESS) < 0 else "sharper"
    return f"{how}: sharpness {_both(found, SHARPNESS)}"


def _displaced(found: Found) -> str:
    name = max((ROW, COLUMN, OFF_CENTRE), key=lambda one: abs(_size(found, one)))
    return f"displaced or cut off: {name} {_both(found, name)}" if _is_largest(found, name) else ""


def _of_other_brightness(found: Found) -> str:
    """A change of levels leaves black what is black."""
    if not _sign(found, MEAN) or _sign(found, LIT) or _sign(found, HEIGHT) or _sign(found, WIDTH):
        return ""
    return f"{'brighter' if _sign(found, MEAN) > 0 else 'darker'}: mean level {_both(found, MEAN)}"


def _of_other_levels(found: Found) -> str:
    name = next((one for one in (N_LEVELS, SATURATED) if _is_largest(found, one)), "")
    return f"of other grey levels: {name} {_both(found, name)}" if name else ""


def _is_largest(found: Found, name: str) -> bool:
    """Return whether a difference is notable, and none is larger."""
    return bool(_sign(found, name)) and all(abs(one.size) <= abs(_size(found, name)) for one in found.values())


KINDS: tuple[Callable[[Found], str], ...] = (
    _black_and_white,
    _noisy,
    _without_black,
    _of_another_size,
    _blurred,
    _displaced,
    _of_other_levels,
    _of_other_brightness,
)
