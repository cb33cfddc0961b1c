"""Throughput: limits, the signals agent and its peers over the same quotes, in turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agents.feeds.wire import Wire
from benchmarks import contestants, java_programs, peers_environment
from benchmarks.contestants import ORIGINALS_RULES, Auditor, Contestant, audited, signals_agent
from benchmarks.measure import Cost
from benchmarks.quotes import Load, Written, forget
from benchmarks.report import Row, Table, row
from benchmarks.setting import Setting
from deploy.kafka_jars import JarError

JSON_TIMES, FRAMES_TIMES, PEERS_TIMES = 4, 12, 2
"""How many times as many quotes as asked for: in a run of two seconds the first transactions, which touch every file of
new topics for the first time, are a good part of what is measured."""
QUIX_SHARE, FAUST_SHARE = 10, 50
"""The slow ones read a fraction of the quotes, so that their runs take minutes, not hours."""


def json(setting: Setting) -> Iterator[Table]:
    """JSON quotes: limits, and the signals agent without and with marks."""
    yield _against_limits(setting, Load(JSON_TIMES * setting.quotes))


def frames(setting: Setting) -> Iterator[Table]:
    """Arrow frames of 250 quotes, with a signal for each 200 quotes and for each 1,000: signals are most of it."""
    for per_symbol_second in (20.0, 100.0):
        quotes = FRAMES_TIMES * setting.quotes
        load = Load(quotes, per_symbol_second=per_symbol_second, wire=Wire.FRAMES)
        yield _against_limits(setting, load)


def peers(setting: Setting) -> Iterator[Table]:
    """JSON quotes: what a user would pick instead, with every signal compared."""
    left_out: list[str] = []
    auditor = Auditor()
    agent = audited(signals_agent("signals agent, marks off", *ORIGINALS_RULES), auditor)
    fast = [contestants.bare("librdkafka"), agent, *_java(setting, auditor, left_out)]
    slow = [(FAUST_SHARE, contestants.faust(auditor))]
    try:
        slow.insert(0, (QUIX_SHARE, contestants.quix_streams(peers_environment.python(), auditor)))
    except peers_environment.NoPackages as reason:
        left_out.append(f"Quix Streams is left out: {reason}")
    yield _compare(setting, Load(PEERS_TIMES * setting.quotes), fast, "JSON quotes to signals", left_out, before=agent)
    for share, peer in slow:
        load = Load(max(1, setting.quotes // share))
        yield _compare(setting, load, [peer], f"The same, fewer quotes: {peer.name}", [], before=agent)


def scaling(setting: Setting) -> Iterator[Table]:
    """JSON quotes: one signals process against two that share the partitions."""
    both = [signals_agent(f"{n} process{'es' * (n > 1)}", "marks=off", instances=n) for n in (1, 2)]
    yield _compare(setting, Load(2 * setting.quotes), both, "Processes of the signals agent", [])


def symbols(setting: Setting, counts: Sequence[int] = (10, 100, 1_000, 10_000), rate: float = 100.0) -> Iterator[Table]:
    """Cost against the number of symbols, each with so many quotes a second of event time."""
    agent = signals_agent("", "marks=off")
    loads = [setting.write("symbols", Load(setting.quotes, count, per_symbol_second=rate)) for count in counts]
    conditions = setting.conditions(f"{rate:.0f} quotes a symbol and second of event time, marks off", "in turn")
    costs: list[list[Cost]] = [[] for _ in loads]
    for _ in range(setting.repeats):
        for load, found in zip(loads, costs, strict=True):
            found.append(_run(setting, agent, load))
    rows = [
        Row(f"{load.load.symbols:,} symbols, {load.quotes / 1e6:.1f} million quotes", _columns(found))
        for load, found in zip(loads, costs, strict=True)
    ]
    for load in loads:
        forget(load.config)
    yield Table("Cost against the number of symbols", conditions, rows)


def _against_limits(setting: Setting, load: Load) -> Table:
    left_out: list[str] = []
    agent = signals_agent("signals agent, marks off", "marks=off")
    runners = [
        contestants.bare("librdkafka"),
        *_java(setting, None, left_out),
        contestants.bare("consume"),
        agent,
        signals_agent("signals agent, marks each second", "marks=grid"),
    ]
    what = "JSON quotes" if load.wire is Wire.JSON else "Arrow frames"
    title = f"{what}: the signals agent against bare consumption"
    return _compare(setting, load, runners, title, left_out, before=agent)


def _java(setting: Setting, auditor: Auditor | None, left_out: list[str]) -> list[Contestant]:
    """Java's bare consumer, and with an auditor Kafka Streams too; none where Java's programs cannot be made."""
    try:
        programs = java_programs.compiled(setting.folder / "classes")
    except (java_programs.NoCompiler, JarError) as reason:
        left_out.append(f"Java's consumer and Kafka Streams are left out: {reason}")
        return []
    streams = [contestants.kafka_streams(programs, threads, auditor) for threads in (1, 2)] if auditor else []
    return [contestants.bare_java(programs), *streams]


def _compare(
    setting: Setting,
    load: Load,
    runners: Sequence[Contestant],
    title: str,
    remarks: list[str],
    before: Contestant | None = None,
) -> Table:
    """The table of some contestants; `before` runs once and is not in it, so that the broker knows such work."""
    written = setting.write(load.wire, load)
    if before is not None:
        before.run(written)
    conditions = setting.conditions(
        f"{written.quotes / 1e6:.2f} million quotes of {load.symbols:,} symbols in {load.partitions} partitions",
        f"{load.per_symbol_second:.0f} quotes a symbol and second of event time",
        f"{setting.repeats} runs of each in turn",
    )
    costs: dict[str, list[Cost]] = {runner.name: [] for runner in runners}
    # In turn, so that a slow minute of the machine falls on all of them.
    for _ in range(setting.repeats):
        for runner in runners:
            costs[runner.name].append(_run(setting, runner, written))
    forget(written.config)
    return Table(title, conditions, [Row(name, _columns(found)) for name, found in costs.items()], remarks)


def _run(setting: Setting, runner: Contestant, load: Written) -> Cost:
    cost = runner.run(load)
    whole = cost.whole
    who = runner.name or f"{load.load.symbols:,} symbols"
    setting.note(f"{who}: {whole.per_second:,.0f} quotes/s, {whole.cpu_per_million:.2f} CPU s a million")
    return cost


def _columns(costs: Sequence[Cost]) -> dict[str, list[float]]:
    return row("", [cost.figures() for cost in costs]).figures
