"""Philox 4×32-10 (Salmon et al. 2011) on the CPU: the numbers that `torch.randn` draws on a CUDA device."""

import numpy as np

MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
KEY_STEPS = (np.uint32(0x9E3779B9), np.uint32(0xBB67AE85))
ROUNDS = 10
UNIT = np.float32(2.0**-32)
TURN = np.float32(2.0**-32 * 2 * np.pi)
LOW_WORD = np.uint64(0xFFFFFFFF)


def _split(wide: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Low and high 32 bits of 64-bit numbers."""
    return (wide & LOW_WORD).astype(np.uint32), (wide >> np.uint64(32)).astype(np.uint32)


def philox4_32(counter: list[np.ndarray], key: list[np.ndarray], rounds: int = ROUNDS) -> list[np.ndarray]:
    """Four words of counter, two of key, each uint32 [n] -> four words of random bits, uint32 [n]."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    with np.errstate(over="ignore"):
        for round_number in range(rounds):
            if round_number:
                k0, k1 = k0 + KEY_STEPS[0], k1 + KEY_STEPS[1]
            low0, high0 = _split(c0.astype(np.uint64) * MULTIPLIERS[0])
            low1, high1 = _split(c2.astype(np.uint64) * MULTIPLIERS[1])
            c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
    return [c0, c1, c2, c3]


def box_muller(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The first of the two normal numbers that the Box–Muller transform makes of random bits."""
    radius = np.sqrt(np.float32(-2) * np.log(x * UNIT + UNIT / 2))
    return (radius * np.sin(y * TURN + TURN / 2)).astype(np.float32)


class Generator:
    """A seeded source of normal numbers."""

    def __init__(self, seed: int):
        self.seed = int(seed)
        self.offset = 0

    def randn(self, shape) -> np.ndarray:
        """The next normal numbers of a shape, float32."""
        count = int(np.prod(shape))
        zero = np.zeros(count, dtype=np.uint32)
        counter = [zero + np.uint32(self.offset), zero, np.arange(count, dtype=np.uint32), zero]
        low, high = _split(np.uint64(self.seed % 2**64))
        self.offset += 1
        bits = philox4_32(counter, [zero + low, zero + high])
        return box_muller(bits[0], bits[1]).reshape(shape)
