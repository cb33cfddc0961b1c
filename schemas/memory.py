"""Bytes at an address, inside compiled code: what the parsers read records with, without copying them."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


@intrinsic
def byte_at(typing_context: Any, address: Any) -> Any:
    """The byte at an address (int64). The caller answers for the address being readable."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(builder.inttoptr(arguments[0], ir.IntType(8).as_pointer()))

    return types.uint8(types.int64), generate


@intrinsic
def int64_at(typing_context: Any, address: Any) -> Any:
    """The 64-bit integer at an aligned address (int64)."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(builder.inttoptr(arguments[0], ir.IntType(64).as_pointer()))

    return types.int64(types.int64), generate
