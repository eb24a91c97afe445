"""Whether bfloat16 is faster than float32 on this machine."""

import contextlib
import functools
import time
from collections.abc import Iterator

import torch

N_TIMED, TIMED_SIZE = 6, 512  # products of square matrices that are timed in each precision
FASTER = 0.9  # of the time of float32 counts as faster

_fixed: bool | None = None


def gains_from_bfloat16(device: torch.device) -> bool:
    """Return whether products of matrices are faster in bfloat16 than in float32 on a device.

    They are on GPUs from compute capability 8 and on CPUs with AMX. AVX512_BF16 alone halves their time on some
    processors and doubles it on others, so there they are timed, once in a process, or as :func:`fixed_gain` says.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    instructions = cpu_with_bfloat16()
    if instructions is None or instructions == "AMX":
        return instructions == "AMX"
    return products_are_faster() if _fixed is None else _fixed


@contextlib.contextmanager
def fixed_gain(is_faster: bool | None) -> Iterator[None]:
    """Take this for the answer inside the block where products would be timed; None leaves all as it is.

    Beside other processes the answer may be another one, and a run that is repeated or resumed needs that of its
    beginning.
    """
    global _fixed
    before = _fixed
    _fixed = before if is_faster is None else is_faster
    try:
        yield
    finally:
        _fixed = before


@functools.cache
def products_are_faster() -> bool:
    """Return whether this CPU multiplies matrices faster in bfloat16 than in float32.

    The two take turns, and the shortest time of each counts, since other processes can only lengthen it.
    """
    shortest = dict.fromkeys((torch.float32, torch.bfloat16), float("inf"))
    for dtype in N_TIMED * [*shortest]:
        matrix = torch.ones(TIMED_SIZE, TIMED_SIZE, dtype=dtype)
        begin = time.perf_counter()
        torch.mm(matrix, matrix)
        shortest[dtype] = min(shortest[dtype], time.perf_counter() - begin)
    return shortest[torch.bfloat16] < FASTER * shortest[torch.float32]


def cpu_with_bfloat16() -> str | None:
    """Return the name of this CPU's instructions for bfloat16, or None if it has none."""
    if torch.cpu._is_amx_tile_supported():
        return "AMX"
    return "AVX512_BF16" if torch.cpu._is_avx512_bf16_supported() else None
