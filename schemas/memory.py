"""Numbers at an address, inside compiled code: what the parsers read records with, without copying them."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


def _reader(kind: ir.Type, result: Any, name: str, text: str) -> Any:
    def load(typing_context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            loaded = builder.load(builder.inttoptr(arguments[0], kind.as_pointer()))
            loaded.align = 1  # records lie where they lie
            return loaded

        return result(types.int64), generate

    load.__name__ = load.__qualname__ = name
    load.__doc__ = text
    return intrinsic(load)


byte_at = _reader(ir.IntType(8), types.uint8, "byte_at", "The byte at an address (int64), which must be readable.")
uint16_at = _reader(ir.IntType(16), types.uint16, "uint16_at", "The unsigned 16-bit integer at an address.")
int32_at = _reader(ir.IntType(32), types.int32, "int32_at", "The 32-bit integer at an address.")
int64_at = _reader(ir.IntType(64), types.int64, "int64_at", "The 64-bit integer at an address.")
float64_at = _reader(ir.DoubleType(), types.float64, "float64_at", "The double at an address.")
uint64_at = _reader(ir.IntType(64), types.uint64, "uint64_at", "The unsigned 64-bit integer at an address.")


@intrinsic
def trailing_zeros(typing_context: Any, value: Any) -> Any:
    """How many of a uint64's low bits are 0; 64 for 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate
