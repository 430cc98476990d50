"""The command line: results on stdout, all else on stderr, and one line instead of a traceback.

Exit codes: 0 done, 1 a fault of ours, 2 a mistake that the user can mend, 130 stopped by Ctrl-C.
"""

import os
import sys
import traceback
import warnings
from collections.abc import Sequence

from kiloword.cli.stop import PRESSED, listening

# module: the extra it comes with
EXTRAS = {"lightning_fabric": "train", "matplotlib": "train", "resvg_py": "train", "scipy": "train"}


class Stopped(Exception):
    """Ctrl-C in a command that can say how to go on."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code is returned. KILOWORD_DEBUG=1 shows the traceback of what went wrong."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        with warnings.catch_warnings(), listening():
            warnings.showwarning = _note
            code = _run(argv)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has gone, `kiloword models | head -1`: nobody is left to tell
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


def say(line: str) -> None:
    """One line on stderr."""
    print(f"kiloword: {' '.join(line.split())}", file=sys.stderr)


def explain(error: BaseException) -> tuple[int, str]:
    """The exit code and the line for what was raised."""
    usage = getattr(error, "format_message", None)  # the option parser's errors are click's, or typer's copy of them
    if usage is not None:
        return 2, _usage(error, usage())
    if isinstance(error, Stopped):
        return 130, f"stopped: {error}"
    if isinstance(error, KeyboardInterrupt) or PRESSED.is_set():  # what an interrupted import raises tells nothing
        return 130, "stopped"
    if isinstance(error, ModuleNotFoundError) and error.name in EXTRAS:
        return 2, f"this needs the package {error.name}: pip install 'kiloword[{EXTRAS[error.name]}]'"
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return 2, f"{where}{error.strerror}"
    if isinstance(error, ValueError | OSError):
        return 2, str(error) or type(error).__name__
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return 1, f"this is a fault in kiloword, not yours ({what}); KILOWORD_DEBUG=1 shows where"


def _run(argv: list[str]) -> int:
    from kiloword.cli.app import command

    code = command().main(args=argv or ["--help"], prog_name="kiloword", standalone_mode=False)
    return code if isinstance(code, int) else 0


def _usage(error: BaseException, message: str) -> str:
    context = getattr(error, "ctx", None)
    message = message.strip().rstrip(".")
    return f"{message[:1].lower()}{message[1:]} (see {context.command_path if context else 'kiloword'} --help)"


def _note(message, category, filename, lineno, file=None, line=None) -> None:
    say(f"note: {message}")
