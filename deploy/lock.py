"""`./mm lock`: resolves pyproject.toml into the hashed locks; passes options such as --upgrade on to uv."""

import subprocess
import sys

COMPILE = (
    *(sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"),
    *("--generate-hashes", "--no-emit-index-url", "--no-header"),
)


def compile_lock(name: str, *source: str) -> None:
    """Write deploy/locks/<name>.txt; raises subprocess.CalledProcessError when there is no solution."""
    target = ("--output-file", f"deploy/locks/{name}.txt")
    subprocess.run([*COMPILE, *source, *target, *sys.argv[1:]], check=True)


def main() -> int:
    """Write all locks; the exit code."""
    try:
        compile_lock("setup", "--group", "setup")
        compile_lock("core", "pyproject.toml")
        compile_lock("test", "--group", "test", "--constraint", "deploy/locks/core.txt")
        # alone: what a peer wants need not go together with what we want
        compile_lock("peers", "--group", "peers")
    except subprocess.CalledProcessError as error:
        return error.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
