"""Which partition a key belongs to: the rule of Kafka's Java client, which librdkafka calls ``murmur2_random``."""

from __future__ import annotations

from functools import lru_cache

PARTITIONER = "murmur2_random"
"""librdkafka's name of the rule; its own default (CRC32) would send keys elsewhere than Java programs do."""

_MASK = 0xFFFFFFFF
_M = 0x5BD1E995


def murmur2(key: bytes) -> int:
    """Hash of a key, unsigned 32 bits (MurmurHash2 with the seed that Kafka's clients use).

    >>> murmur2(b"21")
    3321034988
    """
    length = len(key)
    h = 0x9747B28C ^ length
    whole = length & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(key[i : i + 4], "little") * _M & _MASK
        k = (k ^ k >> 24) * _M & _MASK
        h = h * _M & _MASK ^ k
    if whole < length:
        h = (h ^ int.from_bytes(key[whole:], "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15


@lru_cache(1 << 17)  # an agent asks for each symbol once for each of its partitions
def partition_of(symbol: str, partitions: int) -> int:
    """Partition of a symbol's records in a topic of that many partitions."""
    return (murmur2(symbol.encode()) & 0x7FFFFFFF) % partitions
