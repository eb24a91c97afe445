"""SHA-256 checksums of the files that come with the package."""

import hashlib

SUMS_FILE = "SHA256SUMS"


def read_sums(text: str) -> dict[str, str]:
    """Return the checksum of each file by its name.

    Args:
        text: Content of a file that the tool sha256sum wrote; lines that are not a checksum and a name are left out.
    """
    pairs = (line.split() for line in text.splitlines())
    return {pair[1]: pair[0] for pair in pairs if len(pair) == 2}


def sha256(content: bytes) -> str:
    """Return the SHA-256 of some bytes, 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
