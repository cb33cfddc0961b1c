"""`./mm check`: what an editor would run. All checks run; the exit code is that of the worst.

`./mm check parity FOLDER`: every quote file of a folder through Kafka in every way, each with the same trades.
"""

import os
import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent
CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
    ("lint-imports",),
)


def passes(command: str, *arguments: str) -> bool:
    """Whether a tool of .venv is content; it prints its findings itself."""
    print("==", command, *arguments, flush=True)
    return subprocess.run([str(BIN / command), *arguments], check=False).returncode == 0


def parity(folder: str) -> int:
    """Compare the hashes of the trades, as the tests do with made-up quotes; pytest's exit code."""
    if not Path(folder).is_dir():
        print(f"mm: {folder} is no folder; usage: ./mm check parity FOLDER", file=sys.stderr)
        return 2
    command = [sys.executable, "-m", "pytest", "-s", "-k", "real_days", "tests/integration/test_parity.py"]
    return subprocess.run(command, env=os.environ | {"MM_TEST_DATA": folder}, check=False).returncode


def main(arguments: list[str]) -> int:
    """Run every check; 0 when all pass, else 1."""
    if arguments[:1] == ["parity"] and len(arguments) == 2:
        return parity(arguments[1])
    if arguments:
        print("mm: usage: ./mm check, or ./mm check parity FOLDER", file=sys.stderr)
        return 2
    results = [passes(*check) for check in CHECKS]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
