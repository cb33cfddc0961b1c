"""The compiled JSON parser against the validating decoder: the same rows and rejects, to the bit, on every input."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.columns import CLOCK, END_CLOCK, QUOTE, SKIP
from schemas.records import MAX_FEED_CHARACTERS, Clock, Quote
from tests.pipeline.scripts import examples
from tests.schemas.records import KNOWN, Decoded, decoded, new_decoder, quote_row

PLAIN = b'{"symbol":"AAPL","ts":1700000000000000000,"bid":99.99,"bid_size":300,"ask":100.01,"ask_size":250.5}'
_INT64 = range(-(1 << 63), 1 << 63)


def by_the_book(value: bytes) -> Decoded:
    """What a record means to the typed decoders of the records alone."""
    try:
        quote = msgspec.json.decode(value, type=Quote)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _clock_by_the_book(value)
    if quote.symbol.startswith("W"):
        return (SKIP,)
    ts = quote.ts if quote.ts in _INT64 else 0
    return quote_row(quote.symbol, ts, quote.bid, quote.bid_size, quote.ask, quote.ask_size)


def _clock_by_the_book(value: bytes) -> Decoded:
    try:
        clock = msgspec.json.decode(value, type=Clock)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return (SKIP,)
    return END_CLOCK if clock.end else CLOCK, clock.feed, clock.clock if clock.clock in _INT64 else 0


# -- what is written ----------------------------------------------------------------------------------------------

SPACES = ("", "", "", "", " ", "  ", "\t", "\n", "\r\n ", "\x0b", "\u00a0")
SYMBOLS = (
    *KNOWN,
    *KNOWN,
    "NEW",
    "WRONG",
    "",
    "y" * 33,
    "has space",
    "\u00e9",
    "A\\u0041PL",
    'AA\\"PL',
    "AAP\\",
    "A\x00",
    "\x7f",
)
LITERALS = ("NaN", "Infinity", "-Infinity", "null", "true", '"1.5"', "[]", "{}", "[1]", '{"a":[{}]}', "", "1 2", "0x10")
KEYS = ("symbol", "ts", "bid", "bid_size", "ask", "ask_size")
OTHER_KEYS = (
    "exchange_ts",
    "clock",
    "end",
    "feed",
    "extra",
    "sym\\u0062ol",
    "Bid",
    "bid_siz",
    "bid_size_",
    "",
    "\x00bid",
)
TOKENS = (
    b'"',
    b"\\",
    b",",
    b":",
    b"{",
    b"}",
    b"0",
    b"00",
    b".",
    b"-",
    b"e9",
    b" ",
    b"\x00",
    b"\xff",
    b"\xc3\xa9",
    b"1" * 20,
)


def a_number(draw: random.Random) -> str:
    """A number as some program might spell it."""
    digits = "".join(
        draw.choice("0123456789") for _ in range(draw.choice((1, 2, 5, 9, 15, 16, 17, 18, 19, 20, 25, 40)))
    )
    spellings: tuple[Callable[[], str], ...] = (
        lambda: repr(draw.uniform(0, 10 ** draw.randint(-5, 12))),
        lambda: repr(draw.uniform(0, 1000)),
        lambda: str(round(draw.uniform(0, 1000), 2)),
        lambda: str(draw.randint(0, 1000)),
        lambda: digits,
        lambda: digits.lstrip("0") or "0",
        lambda: "0." + digits,
        lambda: digits + "." + digits,
        lambda: str(draw.randint(0, 1 << 60)) + "." + digits[:4],
        lambda: str((1 << 53) + draw.randint(-2, 2)),
        lambda: str(((1 << 53) + draw.randint(-2, 2)) / 10 ** draw.randint(0, 9)),
        lambda: "-" + digits,
        lambda: draw.choice(
            ("-0", "-0.0", "0", "0.0", "00", "01", "1.", ".5", "1..2", "1.2.3", "+1", "1e5", "1E-5", "1e")
        ),
        lambda: f"{digits[:3]}e{draw.randint(-400, 400)}",
        lambda: draw.choice(LITERALS),
    )
    return draw.choice(spellings)()


def a_ts(draw: random.Random) -> str:
    """A time, most of them plausible."""
    if draw.random() < 0.6:
        return str(1_700_000_000_000_000_000 + draw.randint(0, 10**15))
    edges = (0, 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 64, 9 * 10**18 - 1, 9 * 10**18, 10**19, 10**30)
    return draw.choice((str(draw.choice(edges)), f"-{draw.choice(edges)}", "1.7e18", "5.0", "5.5", a_number(draw)))


def a_value(draw: random.Random, key: str) -> str:
    """The text of a field's value."""
    if key == "symbol":
        return draw.choice((f'"{draw.choice(SYMBOLS)}"',) * 9 + (a_number(draw),))
    if key in ("ts", "exchange_ts", "clock"):
        return a_ts(draw)
    if key == "feed":
        return draw.choice(('"live"', '""', '"\\ud800"', '"\\u00e9"', "1"))
    if key == "end":
        return draw.choice(("true", "false", "1", "null"))
    return a_number(draw)


def a_record(draw: random.Random) -> bytes:
    """A quote or clock that is more or less right."""
    keys = ["clock", "feed", "end"] if draw.random() < 0.08 else list(KEYS)
    if draw.random() < 0.5:
        draw.shuffle(keys)
    if draw.random() < 0.15:
        keys.insert(draw.randrange(len(keys) + 1), draw.choice((*KEYS, *OTHER_KEYS)))
    if draw.random() < 0.1:
        keys.pop(draw.randrange(len(keys)))
    spaces = SPACES if draw.random() < 0.3 else (("", " ") if draw.random() < 0.5 else ("",))

    def gap() -> str:
        return draw.choice(spaces)

    fields = ",".join(f'{gap()}"{key}"{gap()}:{gap()}{a_value(draw, key)}{gap()}' for key in keys)
    return f"{gap()}{{{fields}}}{gap()}".encode()


def damaged(draw: random.Random, record: bytes) -> bytes:
    """A record with a few bytes flipped, put in, cut out, doubled, or cut off."""
    data = bytearray(record)
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        at = draw.randrange(len(data)) if data else 0
        until = at + draw.randint(1, 6)
        what = draw.randrange(5)
        if what == 0 and data:
            data[at] ^= 1 << draw.randrange(8)
        elif what == 1:
            data[at:at] = draw.choice(TOKENS)
        elif what == 2:
            del data[at:until]
        elif what == 3:
            data[at:at] = data[at:until]
        else:
            del data[at:]
    return bytes(data)


def plain_json(draw: random.Random) -> bytes:
    """A quote as Python's json writes it, any floats."""
    prices = [
        draw.choice((draw.uniform(0, 1e6), draw.random(), abs(draw.gauss(0, 1e-9)), 10.0 ** draw.randint(-30, 30)))
        for _ in range(4)
    ]
    fields = dict(zip(KEYS, ("AAPL", draw.randrange(1 << 63), *prices), strict=True))
    return json.dumps(fields, separators=draw.choice(((",", ":"), (", ", ": ")))).encode()


def a_value_of_quotes(seed: int) -> bytes:
    """Any value that a record of `quotes` might have, as long as it is no frame."""
    draw = random.Random(seed)
    kind = draw.random()
    if kind < 0.2:
        value = plain_json(draw)
    elif kind < 0.65:
        value = a_record(draw)
    else:
        value = damaged(draw, draw.choice((PLAIN, a_record(draw))))
    return value if value[:1] != b"\xff" else b"{"


seeds = st.lists(st.integers(0, 1 << 62), min_size=1, max_size=60)


@examples(150)
@given(seeds)
def test_the_parser_reads_what_the_book_says(seeds: list[int]) -> None:
    values = [a_value_of_quotes(seed) for seed in seeds]
    rows, rejects = decoded(new_decoder(), values)
    expected = [by_the_book(value) for value in values]
    for value, row, wanted in zip(values, rows, expected, strict=True):
        assert row == wanted, value
    assert [reject.record for reject in rejects] == [i for i, row in enumerate(expected) if row == (SKIP,)]


@examples(30)
@given(seeds)
def test_what_a_decoder_knows_and_how_records_are_grouped_does_not_matter(seeds: list[int]) -> None:
    values = [a_value_of_quotes(seed) for seed in seeds]
    together, _ = decoded(new_decoder(()), values)
    decoder = new_decoder(())
    one_by_one = [decoded(decoder, [value])[0][0] for value in values]
    assert together == one_by_one


@examples(40)
@given(st.text(max_size=60))
def test_any_text_is_read_by_the_book(text: str) -> None:
    values = ["{" + text, PLAIN.decode() + text, text + PLAIN.decode(), PLAIN.decode().replace("AAPL", text)]
    encoded = [value.encode(errors="surrogatepass") for value in values]
    assert decoded(new_decoder(), encoded)[0] == [by_the_book(value) for value in encoded]


@examples(40)
@given(st.floats(min_value=0, allow_infinity=False), st.integers(0, 20))
def test_any_number_is_read_to_the_bit(number: float, decimals: int) -> None:
    texts = (repr(number), f"{number:.{decimals}f}", f"{number:.{decimals}e}", f"{number:.17g}")
    values = [PLAIN.replace(b"99.99", text.encode()) for text in texts]
    assert decoded(new_decoder(), values)[0] == [by_the_book(value) for value in values]


@pytest.mark.parametrize("length", range(len(PLAIN)))
def test_a_record_cut_short_is_refused_and_nothing_behind_it_is_read(length: int) -> None:
    # What follows in memory would complete the record.
    rows, rejects = decoded(new_decoder(), [PLAIN[:length], PLAIN[length:] or b"x", PLAIN])
    assert rows[0] == (SKIP,)
    assert rows[2][0] == QUOTE
    assert 0 in [reject.record for reject in rejects]


@pytest.mark.parametrize("value", [None, b""])
def test_an_empty_value_is_refused(value: bytes | None) -> None:
    rows, rejects = decoded(new_decoder(), [value, PLAIN])
    assert [row[0] for row in rows] == [SKIP, QUOTE]
    assert [(reject.record, reject.reason) for reject in rejects] == [(0, "empty value")]


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"{" + b" " * 10_000_000 + b"}", id="spaces"),
        pytest.param(PLAIN.replace(b"AAPL", b"A" * 10_000_000), id="symbol"),
        pytest.param(PLAIN.replace(b"99.99", b"9" * 10_000_000), id="digits"),
        pytest.param(PLAIN.replace(b"1700000000000000000", b"1" * 10_000_000), id="ts"),
        pytest.param(b'{"a":' * 2_000_000, id="objects"),
        pytest.param(PLAIN[:-1] + b',"extra":' + b"[" * 10_000_000 + b"}", id="arrays"),
        pytest.param(b'{"' + b"k" * 10_000_000 + b'":1}', id="key"),
    ],
)
def test_a_value_of_ten_megabytes_is_refused(value: bytes) -> None:
    rows, rejects = decoded(new_decoder(), [value, PLAIN])
    assert [row[0] for row in rows] == [SKIP, QUOTE]
    assert len(rejects[0].reason) < 1_000


def test_a_clock_of_a_feed_with_an_endless_name_is_refused() -> None:
    longest = b'{"clock":1700000000000000000,"feed":"%s"}' % (b"f" * MAX_FEED_CHARACTERS)
    decoder = new_decoder()
    rows, rejects = decoded(decoder, [longest, longest.replace(b"ff", b"fff", 1)])
    assert [row[0] for row in rows] == [CLOCK, SKIP]
    assert len(rejects) == 1
    assert len(decoder.feeds) == 1


def test_more_symbols_than_the_index_began_with_are_all_found_again() -> None:
    symbols = [f"S{i}" for i in range(3_000)]
    values = [PLAIN.replace(b"AAPL", symbol.encode()) for symbol in (*symbols, *symbols)]
    decoder = new_decoder()
    rows, _ = decoded(decoder, values)
    assert [row[1] for row in rows] == [*symbols, *symbols]
    assert len(decoder.index) == len(KNOWN) + len(symbols)
