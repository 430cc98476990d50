"""Runs one command; whatever it raises becomes a line on stderr and an exit code.

Source: defined here.
"""

import os
import sys
import traceback
import warnings
from collections.abc import Sequence

from kiloword.cli.messages import explain, say
from kiloword.cli.stop import remember_ctrl_c


def run(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code is returned. KILOWORD_DEBUG=1 shows the traceback of what went wrong."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        with warnings.catch_warnings(), remember_ctrl_c():
            warnings.showwarning = _note
            code = _run(argv)
        sys.stdout.flush()
    except BrokenPipeError:  # stdout was closed, as by `kiloword models | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except BaseException as error:
        if isinstance(error, SystemExit):
            raise
        if os.environ.get("KILOWORD_DEBUG") == "1":
            traceback.print_exc()
        code, line = explain(error)
        say(line)
        return code
    if code == 130:
        say("stopped")
    return code


def _run(argv: list[str]) -> int:
    from kiloword.cli.app import command

    code = command().main(args=argv or ["--help"], prog_name="kiloword", standalone_mode=False)
    return code if isinstance(code, int) else 0


def _note(message, category, filename, lineno, file=None, line=None) -> None:
    say(f"note: {message}")
