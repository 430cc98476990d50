"""The command line: results on stdout, all else on stderr, and one line instead of a traceback."""

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code is returned."""
    from kiloword.cli.entry import run

    return run(argv)
