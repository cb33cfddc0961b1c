"""librdkafka's own batch call under an ordinary confluent-kafka Consumer: records without a Python object each.

The Consumer keeps doing groups, rebalances, offsets and callbacks; only the fetching of messages goes past its
Python objects. `load` answers for the versions that the tests have passed with, and for no other.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import confluent_kafka
import numba as nb
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from schemas.memory import int64_at

TESTED_VERSIONS = ("2.15.1",)
_HANDLE_OFFSET = 16  # of the rd_kafka_t* in confluent-kafka's Handle, behind CPython's object header

# rd_kafka_message_t on 64-bit machines
_ERR, _PARTITION, _PAYLOAD, _LENGTH, _KEY, _KEY_LENGTH, _OFFSET = 0, 16, 24, 32, 40, 48, 56
_LOW_32 = 0xFFFFFFFF


class Unavailable(RuntimeError):
    """librdkafka cannot be reached directly here; the text says why."""


class Library:
    """The functions in use. Pointers are plain integers."""

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path))
        pointer = ctypes.c_void_p

        def function(name: str, result: Any, *arguments: Any) -> Any:
            found = getattr(library, name)
            found.restype, found.argtypes = result, arguments
            return found

        self.name = function("rd_kafka_name", ctypes.c_char_p, pointer)
        self.queue_new = function("rd_kafka_queue_new", pointer, pointer)
        self.queue_get_partition = function(
            "rd_kafka_queue_get_partition", pointer, pointer, ctypes.c_char_p, ctypes.c_int32
        )
        self.queue_forward = function("rd_kafka_queue_forward", None, pointer, pointer)
        self.queue_destroy = function("rd_kafka_queue_destroy", None, pointer)
        self.consume_queue = function("rd_kafka_consume_queue", pointer, pointer, ctypes.c_int)
        self.consume_batch_queue = function(
            "rd_kafka_consume_batch_queue", ctypes.c_ssize_t, pointer, ctypes.c_int, pointer, ctypes.c_size_t
        )
        self.message_destroy = _address(library.rd_kafka_message_destroy)
        self.message_timestamp = _address(library.rd_kafka_message_timestamp)

    def handle(self, consumer: confluent_kafka.Consumer) -> int:
        """The rd_kafka_t* of a consumer. Raises Unavailable."""
        handle = ctypes.c_void_p.from_address(id(consumer) + _HANDLE_OFFSET).value
        if not handle or not (self.name(handle) or b"").startswith(b"rdkafka#consumer"):
            raise Unavailable("confluent-kafka's Consumer does not begin with librdkafka's handle")
        return handle


@cache
def load() -> Library:
    """Librdkafka as confluent-kafka has loaded it. Raises Unavailable."""
    version = confluent_kafka.__version__
    if version not in TESTED_VERSIONS:
        raise Unavailable(f"confluent-kafka {version} has not been tested with direct access to librdkafka")
    package = Path(confluent_kafka.__file__).parent
    places = (package.parent / "confluent_kafka.libs", package / ".dylibs")
    found = [path for place in places for path in sorted(place.glob("librdkafka*"))]
    if not found:
        raise Unavailable("confluent-kafka's wheel brings no shared librdkafka on this platform")
    return Library(found[0])


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


@intrinsic
def _call_with_pointer(typing_context: Any, function: Any, argument: Any) -> Any:
    """Call void function(void *) by address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(64)]).as_pointer()
        builder.call(builder.inttoptr(arguments[0], kind), [arguments[1]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def _call_with_two_pointers(typing_context: Any, function: Any, first: Any, second: Any) -> Any:
    """Call int64 function(void *, void *) by address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(ir.IntType(64), [ir.IntType(64), ir.IntType(64)]).as_pointer()
        return builder.call(builder.inttoptr(arguments[0], kind), arguments[1:])

    return types.int64(types.int64, types.int64, types.int64), generate


@nb.njit(cache=True, nogil=True)
def describe(
    messages: np.ndarray,
    message_timestamp: int,
    timestamp_type: np.ndarray,
    errors: np.ndarray,
    partitions: np.ndarray,
    offsets: np.ndarray,
    addresses: np.ndarray,
    lengths: np.ndarray,
    timestamps: np.ndarray,
) -> None:
    """Fill the columns from message pointers (int64[n]); timestamp_type: int64[1], scratch."""
    for i in range(len(messages)):
        message = messages[i]
        errors[i] = np.int32(int64_at(message + _ERR) & _LOW_32)
        partitions[i] = np.int32(int64_at(message + _PARTITION) & _LOW_32)
        offsets[i] = int64_at(message + _OFFSET)
        addresses[i] = int64_at(message + _PAYLOAD)
        lengths[i] = int64_at(message + _LENGTH)
        timestamps[i] = _call_with_two_pointers(message_timestamp, message, timestamp_type.ctypes.data)


@nb.njit(cache=True, nogil=True)
def destroy(messages: np.ndarray, message_destroy: int) -> None:
    """Give messages back to librdkafka; none of their pointers may be used after it."""
    for i in range(len(messages)):
        _call_with_pointer(message_destroy, messages[i])


def bytes_at(address: int, length: int) -> bytes | None:
    """A copy of the bytes at an address, None for a null pointer."""
    return ctypes.string_at(address, length) if address else None


def key_of(message: int) -> bytes | None:
    """A copy of a message's key."""
    address = ctypes.c_void_p.from_address(message + _KEY).value or 0
    return bytes_at(address, ctypes.c_size_t.from_address(message + _KEY_LENGTH).value)
