"""The kernels' own exp: within an ulp of the truth, and the same bits on every machine."""

from __future__ import annotations

import math
import random
from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.strategy.moments import decay
from tests.pipeline.scripts import examples

BITS = (
    (0.0, "0x1.0000000000000p+0"),
    (-1e-300, "0x1.0000000000000p+0"),
    (-1e-18, "0x1.0000000000000p+0"),
    (-1.6666666666666667e-11, "0x1.ffffffffdb598p-1"),
    (-0.016666666666666666, "0x1.f78992056d459p-1"),
    (-0.0166666667, "0x1.f7899205252ecp-1"),
    (-0.1, "0x1.cf46d99d52b3ap-1"),
    (-0.34657359027997264, "0x1.6a09e667f3bccp-1"),
    (-0.3465735902799727, "0x1.6a09e667f3bccp-1"),
    (-0.5, "0x1.368b2fc6f960ap-1"),
    (-0.6931471805599453, "0x1.0000000000000p-1"),
    (-1.0, "0x1.78b56362cef38p-2"),
    (-1.0397207708399179, "0x1.6a09e667f3bcdp-2"),
    (-2.0, "0x1.152aaa3bf81ccp-3"),
    (-5.0, "0x1.b993fe00d5376p-8"),
    (-10.0, "0x1.7cd79b5647c9ap-15"),
    (-23.456789, "0x1.1dd423dea762ap-34"),
    (-60.0, "0x1.5ae191a99585ap-87"),
    (-100.0, "0x1.a8c1f14e2af5dp-145"),
    (-300.0, "0x1.245639c3a49f7p-433"),
    (-700.0, "0x1.14f2b0fb9307fp-1010"),
    (-708.3, "0x1.19e98b83de7a3p-1022"),
    (-720.0, "0x0.0000993b4dc95p-1022"),
    (-740.0, "0x0.0000000000055p-1022"),
    (-745.1, "0x0.0p+0"),
    (-2.590662118665299, "0x1.3314254fbb5eep-4"),
    (-1.2067933913960154, "0x1.3255b14a95992p-2"),
    (-5.20747578431883, "0x1.66d744fbf3ec4p-8"),
    (-0.5794902933403421, "0x1.1ed06a0115bd7p-1"),
    (-4.287056034453514, "0x1.c26832ca4dd88p-7"),
    (-2.9255113353006843, "0x1.b7657bc48a266p-5"),
    (-0.46399139819765445, "0x1.41ee016990b71p-1"),
    (-4.059485865515362, "0x1.1ac0d5fa0ac86p-6"),
    (-0.29996526753587904, "0x1.7b4fe5fedf4dap-1"),
    (-3.469165469299087, "0x1.fe3f3ff37ac72p-6"),
    (-0.5588433885969515, "0x1.24cc28d19efeep-1"),
    (-0.7257041067509205, "0x1.ef996a79a0f9cp-2"),
    (-3.3961535131401117, "0x1.12728ca1b7eeep-5"),
    (-6.6148169973763045, "0x1.5f5e0a8abc67ep-10"),
    (-0.9904156891971647, "0x1.7c561e1d4c032p-2"),
)


def ulps_off(x: float) -> float:
    """Distance of `decay` from the exact exp, in units of the last place of the exact one (at least a denormal's)."""
    with localcontext() as context:
        context.prec = 60
        context.Emin = -999_999
        exact = Decimal(x).exp()
        return float(abs(Decimal(decay(x)) - exact) / Decimal(math.ulp(float(exact))))


def spread(number: int) -> list[float]:
    """Arguments from the smallest step of time to the underflow, most of them of every-day sizes."""
    draw = random.Random(20_240_229)
    every_day = [-draw.uniform(0, 10) for _ in range(number)]
    tiny = [-(10 ** draw.uniform(-18, 0)) for _ in range(number)]
    large = [-draw.uniform(10, 708) for _ in range(number)]
    around_reductions = [-(k + 0.5) * math.log(2) + draw.uniform(-1e-9, 1e-9) for k in range(1000)]
    return [*every_day, *tiny, *large, *around_reductions]


def test_decay_is_within_an_ulp() -> None:
    worst = max(spread(3000), key=ulps_off)
    assert ulps_off(worst) <= 1.0, worst


@examples(200)
@given(st.floats(-708.0, 0.0))
def test_decay_is_within_an_ulp_wherever_one_looks(x: float) -> None:
    assert ulps_off(x) <= 1.0


def test_decay_is_within_an_ulp_of_denormals() -> None:
    draw = random.Random(1)
    assert max(ulps_off(-draw.uniform(708.3, 745.13)) for _ in range(2000)) <= 1.0


@pytest.mark.parametrize(("x", "expected"), [(0.0, 1.0), (-0.0, 1.0), (-745.2, 0.0), (-1e9, 0.0), (-math.inf, 0.0)])
def test_decay_at_its_ends(x: float, expected: float) -> None:
    assert decay(x) == expected


def test_decay_never_grows_with_age() -> None:
    xs = sorted(spread(500))
    values = [decay(x) for x in xs]
    assert values == sorted(values)


@pytest.mark.parametrize(("x", "bits"), BITS)
def test_decay_has_the_same_bits_on_every_machine(x: float, bits: str) -> None:
    assert decay(x).hex() == bits
