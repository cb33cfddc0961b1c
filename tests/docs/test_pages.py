"""What the pages say of commands, settings, statuses, metrics and files is what the code says."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer

from agents import __version__
from agents.cli import app
from agents.strategy.settings import Settings
from agents.stream import errors
from agents.stream.metrics import Metrics
from agents.surveillance.settings import QuietRule, Rule, SurveillanceSettings
from schemas.topics import TOPICS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def rows(text: str, heading: str, header: str) -> list[list[str]]:
    """Cells of the table that follows a heading and begins with a header, without backticks."""
    _, _, section = text.partition(f"\n## {heading}\n")
    _, _, table = section.partition(f"\n| {header}")
    lines = table.splitlines()[2:]
    body = lines[: next((i for i, line in enumerate(lines) if not line.startswith("|")), len(lines))]
    assert body, f"no table {header} under {heading}"
    return [[cell.strip().strip("`") for cell in line.strip()[1:-1].split("|")] for line in body]


def commands(command: Any, path: str) -> Iterator[str]:
    for name, child in command.commands.items():
        if hasattr(child, "commands"):
            yield from commands(child, f"{path} {name}")
        else:
            yield f"{path} {name}"


def shown(value: object) -> str:
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def test_there_is_one_version() -> None:
    named = [
        re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE),
        re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE),
        re.search(r"newTag: (.+)$", (ROOT / "deploy" / "kubernetes" / "kustomization.yaml").read_text(), re.MULTILINE),
    ]
    assert [found and found[1] for found in named] == [__version__] * 3
    shown = subprocess.run([sys.executable, "-m", "agents.cli", "--version"], capture_output=True, text=True, cwd=ROOT)
    assert shown.stdout == f"mm {__version__}\n"


def test_the_readme_lists_every_command_once() -> None:
    listed = [row[0] for row in rows(README, "Commands", "command")]
    assert sorted(listed) == sorted(commands(typer.main.get_command(app), "mm"))


def test_the_readme_lists_every_setting_with_its_defaults() -> None:
    listed = [tuple(row[:3]) for row in rows(README, "Settings", "name")]
    names = [field.name for field in msgspec.structs.fields(Settings)]
    ours, original = Settings(), Settings.original()
    assert listed == [(name, shown(getattr(ours, name)), shown(getattr(original, name))) for name in names]


def test_operations_lists_every_exit_status_of_an_agent() -> None:
    listed = {(row[0], row[1]) for row in rows(OPERATIONS, "Exit statuses", "status") if row[1]}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and kind.__module__ == errors.__name__]
    own = {(str(kind.exit_status), kind.__name__) for kind in kinds if "exit_status" in vars(kind)}
    assert listed == {*own, (str(errors.STUCK_EXIT_STATUS), "STUCK_EXIT_STATUS")}


def test_operations_tells_which_statuses_a_supervisor_gives_up_on() -> None:
    from agents.processes.supervisor import GIVES_UP_ON

    listed = {int(row[0]) for row in rows(OPERATIONS, "Exit statuses", "status") if row[3] == "no"}
    assert listed == GIVES_UP_ON


def test_operations_lists_every_metric() -> None:
    families = Metrics("signals", "0", lambda: True, lambda: [(0, {"used": 1})]).registry.collect()
    found = {f"{family.name}_total" if family.type == "counter" else family.name for family in families}
    assert {row[0] for row in rows(OPERATIONS, "Metrics", "name")} == found


def test_operations_tells_the_retention_of_every_topic() -> None:
    kept = {name.strip("` "): row[1] for row in rows(OPERATIONS, "Retention", "topic") for name in row[0].split(",")}
    assert kept.keys() == TOPICS.keys()
    for name, topic in TOPICS.items():
        hours = int(topic.settings.get("retention.ms", 0)) // 3_600_000
        wanted = "compacted" if topic.compacted else {24: "24 hours", 168: "7 days"}.get(hours, "for ever")
        assert wanted in kept[name], name


def test_operations_tells_every_alert_with_its_severity_and_bound() -> None:
    settings = SurveillanceSettings()
    rules = {field.name: getattr(settings, field.name) for field in msgspec.structs.fields(settings)}
    rules = {name: rule for name, rule in rules.items() if isinstance(rule, Rule)}
    told = {row[0].split("`")[0]: row for row in rows(OPERATIONS, "Alerts of the desk", "rule")}
    assert told.keys() == rules.keys()
    for name, rule in rules.items():
        first, raised, *_ = told[name]
        severity = rule.severity.lower()
        assert f"({severity})" in first if severity != "warning" else "(" not in first, name
        bound = rule.seconds if isinstance(rule, QuietRule) else rule.above
        forms = (f"{bound:,.0f} ", f"{bound:.0%}".replace("%", " %"), f"{bound / 60:.0f} minutes")
        assert any(form in raised for form in forms), name


def test_what_error_messages_refer_to_is_there() -> None:
    sources = [path.read_text() for folder in ("agents", "deploy") for path in (ROOT / folder).rglob("*.py")]
    referred = {part.lower() for text in sources for part in re.findall(r"docs/operations\.md, ([a-z ]+)", text)}
    assert {"torn state", "lost input", "unreadable state"} <= referred
    assert referred <= {heading.lower() for heading in re.findall(r"^## (.+)$", OPERATIONS, re.MULTILINE)}


def shell_lines(text: str) -> Iterator[str]:
    """Lines of the shell blocks, those that go on as one, and what stands between backticks."""
    for block in re.findall(r"```(?:sh|bash)?\n(.*?)```|^((?: {4}.+\n)+)", text, re.DOTALL | re.MULTILINE):
        yield from "".join(block).replace("\\\n", " ").splitlines()
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def calls(text: str) -> Iterator[list[str]]:
    """The words after `mm` of every call in a page, up to what the shell takes for itself."""
    for line in shell_lines(text):
        for call in re.split(r"[|;&<>#]+", line):
            found = re.match(r"\s*(?:[A-Z_]+=\S* )*(?:\./)?mm((?: .*)?)$", call)
            if found:
                yield found[1].split()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_their_options_are_there(page: Path) -> None:
    for words in calls(page.read_text()):
        command = typer.main.get_command(app)
        left = [word.rstrip(",.:") for word in words]
        while left and hasattr(command, "commands") and not left[0].startswith("-"):
            name = left.pop(0)
            if name in ("test", "check", "lock"):
                break  # of the mm script itself
            if "|" in name or name in ("…", "..."):
                break
            assert name in command.commands, " ".join(words)
            command = command.commands[name]
        else:
            known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
            given = {word.partition("=")[0] for word in left if word.startswith("--")}
            assert given <= {*known, "--help"}, " ".join(words)


def test_the_calls_of_a_page_are_found() -> None:
    assert [" ".join(words) for words in calls(OPERATIONS)].count("doctor") >= 1
    assert len(list(calls(README))) > 30


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        name, _, anchor = target.partition("#")
        there = page.parent / name if name else page
        assert there.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", there.read_text(), re.MULTILINE)
            assert anchor in {heading.lower().replace(" ", "-") for heading in headings}, target
