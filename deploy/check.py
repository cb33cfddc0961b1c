"""`./mm check`: what an editor would run. All checks run; the exit code is that of the worst."""

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


def main() -> int:
    """Run every check; 0 when all pass, else 1."""
    results = [passes(*check) for check in CHECKS]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
