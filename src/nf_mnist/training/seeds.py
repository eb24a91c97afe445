"""One seed mixed from several numbers."""

# The primes of xxHash with 64 bits, https://github.com/Cyan4973/xxHash, and the constant of CPython's tuples.
PRIME_1, PRIME_2, PRIME_5 = 11400714785074694791, 14029467366897019727, 2870177450012600261
LENGTH_MIX = 3527539
BITS = 64


def mixed_seed(*numbers: int) -> int:
    """Return a seed in [0, 2**63) that depends on all numbers and on their order.

    The mixing is that of xxHash, in the variant with which CPython 3.8 to 3.14 hashes tuples on 64-bit machines, so
    that runs can be resumed whose earlier version used ``hash``. Written out, it is the same for every Python.

    Args:
        numbers: Numbers from 0 to 2**61 - 2.
    """
    mixed = PRIME_5
    for number in numbers:
        mixed = (mixed + number * PRIME_2) % 2**BITS
        mixed = (mixed << 31 | mixed >> (BITS - 31)) % 2**BITS
        mixed = mixed * PRIME_1 % 2**BITS
    return (mixed + (len(numbers) ^ (PRIME_5 ^ LENGTH_MIX))) % 2 ** (BITS - 1)
