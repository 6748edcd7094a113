"""The arranger's revision: equal for equal clips.

Version 1 is the sound of 0.1, which hashed its source code with the taxonomy. Its revision must be the same, or
corpora of 0.1 could not be resumed or extended: SHA-256 (FIPS 180-4) continues from its state after that source code.
The revision of version 2 is "2-" and the hash of what it composes and plays from. A sound that differs from those of
released versions gets the next number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from math import isqrt
from pathlib import Path

VOCABULARY = Path(__file__).parent / "vocabulary"

STATE = (0x897CB6FC, 0x028042A6, 0xBE69786D, 0xCA9E3051, 0xEF6DF728, 0x7F7187D3, 0xCF24387D, 0x16800E8A)
LENGTH = 85_046  # bytes of the source code of 0.1, with its vocabulary
TAIL = b"\n    return tuple(pitch + shift for pitch in pitches)\n"  # its bytes after the last complete block of 64
MASK = 0xFFFFFFFF


def make_revision(version: str, taxonomy: bytes, fonts: Iterable[str] = ()) -> str:
    """Return the revision of the arranger.

    Args:
        version: The version of its sound, "1" or "2".
        taxonomy: The taxonomy as JSON.
        fonts: The digests of the sound fonts. Version 1 has one font only, and does not use it.

    Returns:
        12 hexadecimal digits, after "2-" for version 2.
    """
    if version == "1":
        return continue_sha256(STATE, LENGTH, TAIL, taxonomy).hex()[:12]
    digest = hashlib.sha256(taxonomy)
    for path in sorted(VOCABULARY.glob("*.yaml")):
        digest.update(path.name.encode() + path.read_bytes())
    digest.update(" ".join(fonts).encode())
    return f"{version}-{digest.hexdigest()[:12]}"


def continue_sha256(state: tuple[int, ...], length: int, tail: bytes, more: bytes) -> bytes:
    """SHA-256 of `length` bytes followed by `more`.

    Args:
        state: The hash state after the complete blocks of the first `length` bytes.
        length: How many bytes are hashed already, with the tail.
        tail: Those of them after the last complete block.
        more: The bytes to add.
    """
    total = length + len(more)
    data = tail + more + b"\x80" + bytes((55 - total) % 64) + (8 * total).to_bytes(8, "big")
    for at in range(0, len(data), 64):
        state = _compress(state, data[at : at + 64])
    return b"".join(word.to_bytes(4, "big") for word in state)


def _compress(state: tuple[int, ...], block: bytes) -> tuple[int, ...]:
    """Hash one block of 64 bytes (FIPS 180-4, section 6.2.2)."""
    words = [int.from_bytes(block[at : at + 4], "big") for at in range(0, 64, 4)]
    for t in range(16, 64):
        small0 = _turn(words[t - 15], 7) ^ _turn(words[t - 15], 18) ^ words[t - 15] >> 3
        small1 = _turn(words[t - 2], 17) ^ _turn(words[t - 2], 19) ^ words[t - 2] >> 10
        words.append((words[t - 16] + small0 + words[t - 7] + small1) & MASK)
    a, b, c, d, e, f, g, h = state
    for constant, word in zip(CONSTANTS, words, strict=True):
        first = h + (_turn(e, 6) ^ _turn(e, 11) ^ _turn(e, 25)) + (e & f ^ ~e & g) + constant + word
        second = (_turn(a, 2) ^ _turn(a, 13) ^ _turn(a, 22)) + (a & b ^ a & c ^ b & c)
        a, b, c, d, e, f, g, h = (first + second) & MASK, a, b, c, (d + first) & MASK, e, f, g
    return tuple((old + new) & MASK for old, new in zip(state, (a, b, c, d, e, f, g, h), strict=True))


def _turn(word: int, bits: int) -> int:
    return (word >> bits | word << 32 - bits) & MASK


def _cube_root_bits(prime: int) -> int:
    """The first 32 bits of the fraction of a prime's cube root."""
    scaled, root = prime << 96, 1 << 35
    while (better := (2 * root + scaled // (root * root)) // 3) < root:
        root = better
    return root & MASK


CONSTANTS = [_cube_root_bits(n) for n in range(2, 312) if all(n % k for k in range(2, isqrt(n) + 1))]
