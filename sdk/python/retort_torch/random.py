"""The Rust host's random streams (`core/src/random.rs`), bit for bit: ChaCha with 8 rounds, keyed by numbers."""

from __future__ import annotations

import math
from typing import List, Sequence

import torch

_64 = (1 << 64) - 1
_32 = (1 << 32) - 1


def mix(x: int) -> int:
    """The finaliser of SplitMix64."""
    x = (x + 0x9E3779B97F4A7C15) & _64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _64
    return x ^ (x >> 31)


def key(seed: int, name: str) -> int:
    """A key derived from a seed and a name (FNV-1a, then mixed)."""
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = ((value ^ byte) * 0x100000001B3) & _64
    return mix(seed ^ mix(value))


def _seed_words(state: int) -> List[int]:
    """A 64-bit seed as ChaCha's eight key words (PCG32)."""
    words = []
    for _ in range(8):
        state = (state * 6364136223846793005 + 11634580027462260723) & _64
        shifted, rotation = (((state >> 18) ^ state) >> 27) & _32, state >> 59
        words.append(((shifted >> rotation) | (shifted << (-rotation & 31))) & _32)
    return words


def _chacha8(words: Sequence[int], first: int, blocks: int) -> List[int]:
    """The 16 words of each block from number `first` on; all blocks at once, 32-bit words in 64-bit integers."""
    counter = torch.arange(first, first + blocks)
    constants = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574]
    start = [torch.full_like(counter, w) for w in (*constants, *words)]
    start += [counter & _32, counter >> 32, torch.zeros_like(counter), torch.zeros_like(counter)]
    x = list(start)

    def turn(a: int, b: int, c: int, d: int) -> None:
        for i, j, k, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            x[i] = (x[i] + x[j]) & _32
            y = x[k] ^ x[i]
            x[k] = ((y << bits) | (y >> (32 - bits))) & _32

    for _ in range(4):
        for i in range(4):
            turn(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            turn(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return torch.stack([(a + b) & _32 for a, b in zip(x, start)], 1).flatten().tolist()


class Stream:
    """The stream for a key and numbers (a step, a draw)."""

    def __init__(self, stream_key: int, numbers: Sequence[int] = ()) -> None:
        folded = mix(stream_key)
        for n in numbers:
            folded = mix(folded ^ mix((n + 1) & _64))
        self._seed = _seed_words(folded)
        self._words: List[int] = []
        self._next, self._block, self._blocks = 0, 0, 4

    def u64(self) -> int:
        """64 random bits."""
        if self._next == len(self._words):
            self._words = _chacha8(self._seed, self._block, self._blocks)
            self._next, self._block = 0, self._block + self._blocks
            self._blocks = min(2 * self._blocks, 4096)
        low, high = self._words[self._next : self._next + 2]
        self._next += 2
        return high << 32 | low

    def below(self, end: int) -> int:
        """An integer in 0..end (Canon's method, as Rust's `rand`)."""
        product = self.u64() * end
        result, low = product >> 64, product & _64
        if low > (1 << 64) - end:
            result += (low + (self.u64() * end >> 64)) >> 64
        return result

    def uniform(self) -> float:
        """A float in [0, 1)."""
        return (self.u64() >> 11) * 2.0**-53

    def normal(self) -> float:
        """A number from the standard normal distribution (Box-Muller)."""
        radius = math.sqrt(-2.0 * math.log(1.0 - self.uniform()))
        return radius * math.cos(math.tau * self.uniform())
