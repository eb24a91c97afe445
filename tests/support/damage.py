"""Damage to the bytes of files: some are changed, exchanged, put in or cut off."""

import io
import random
import struct
import zipfile
import zlib

ANY_BYTE = bytes(range(256))
TEXT_BYTES = b"0123456789-+.eE[]{}:,#&*!|'\"\\ \n\ttrunlax$"  # what JSON and YAML give a meaning
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def damaged(content: bytes, draw: random.Random, alphabet: bytes = ANY_BYTE) -> bytes:
    """Return a file of which bytes are changed, a part is replaced, two parts are exchanged, or the end is cut off.

    Args:
        content: The bytes of the file.
        draw: Where random numbers come from.
        alphabet: The bytes that are put in.
    """
    spoilt = bytearray(content)
    for _ in range(draw.choice([0, 1, 1, 8, 256])):
        spoilt[draw.randrange(len(spoilt))] = draw.choice(alphabet)
    if draw.random() < 0.4:
        begin = draw.randrange(len(spoilt))
        spoilt[begin : begin + draw.randrange(1, 4096)] = bytes(draw.choices(alphabet, k=draw.randrange(4096)))
    if draw.random() < 0.2 and len(spoilt) > 4:
        a, b, c, d = sorted(draw.randrange(len(spoilt)) for _ in range(4))
        spoilt[a:d] = spoilt[c:d] + spoilt[b:c] + spoilt[a:b]
    return bytes(spoilt[: draw.randrange(len(spoilt) + 1)] if draw.random() < 0.4 else spoilt)


def damaged_text(content: bytes, draw: random.Random) -> bytes:
    """Return JSON or YAML of which a few bytes, lines or values are changed, exchanged, repeated or left out."""
    lines = content.splitlines(keepends=True)
    for _ in range(draw.choice([0, 1, 2])):
        one, other = draw.randrange(len(lines)), draw.randrange(len(lines))
        kind = draw.choice(["exchange", "repeat", "leave out"])
        if kind == "exchange":
            lines[one], lines[other] = lines[other], lines[one]
        elif kind == "repeat":
            lines.insert(one, lines[other])
        elif len(lines) > 1:
            del lines[one]
    spoilt = bytearray(b"".join(lines))
    for _ in range(draw.choice([0, 1, 1, 2, 4])):
        begin = draw.randrange(len(spoilt))
        length = draw.choice([0, 1, 1, 1, 5])
        spoilt[begin : begin + length] = bytes(draw.choices(TEXT_BYTES, k=draw.choice([0, 1, 1, 1, 5])))
    return bytes(spoilt[: draw.randrange(len(spoilt) + 1)] if draw.random() < 0.15 else spoilt)


def damaged_member(content: bytes, draw: random.Random) -> bytes:
    """Return a ZIP archive, such as an npz file or a checkpoint, with a damaged member whose checksum is right.

    It is as often the first one, which in a checkpoint says what the others hold, as one of all.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    filled = [name for name, member in members.items() if member]
    name = draw.choice([filled[0], draw.choice(filled)])
    members[name] = _slightly_damaged(members[name], draw)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return written.getvalue()


def damaged_chunk(content: bytes, draw: random.Random) -> bytes:
    """Return a PNG picture with a damaged chunk whose checksum is right."""
    chunks, position = [], len(PNG_SIGNATURE)
    while position < len(content):
        (length,) = struct.unpack_from(">I", content, position)
        chunks.append((content[position + 4 : position + 8], content[position + 8 : position + 8 + length]))
        position += 12 + length
    place = draw.choice([place for place, (_, data) in enumerate(chunks) if data])
    chunks[place] = (chunks[place][0], _slightly_damaged(chunks[place][1], draw))
    return PNG_SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _slightly_damaged(content: bytes, draw: random.Random) -> bytes:
    """Return content with damage near its beginning, where headers are, as often as elsewhere."""
    spoilt = bytearray(content)
    for _ in range(draw.choice([1, 1, 2, 8])):
        spoilt[draw.randrange(draw.choice([len(spoilt), min(len(spoilt), 128)]))] = draw.choice(ANY_BYTE)
    return bytes(spoilt[: draw.randrange(len(spoilt) + 1)] if draw.random() < 0.1 else spoilt)
