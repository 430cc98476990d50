"""Messages on stderr: notes, and one line instead of a traceback, with an exit code.

Exit codes: 0 done, 1 a fault in kiloword, 2 a mistake that the user can fix, 130 stopped by Ctrl-C.
"""

import sys

from kiloword.cli.stop import PRESSED

# module: the extra it comes with
EXTRAS = {"lightning_fabric": "train", "matplotlib": "train", "resvg_py": "train", "scipy": "train"}


class Stopped(Exception):
    """Ctrl-C in a command that can be resumed; the message says how."""


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
    if isinstance(error, KeyboardInterrupt) or PRESSED.is_set():  # an interrupted import may raise anything
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


def _usage(error: BaseException, message: str) -> str:
    context = getattr(error, "ctx", None)
    message = message.strip().rstrip(".")
    return f"{message[:1].lower()}{message[1:]} (see {context.command_path if context else 'kiloword'} --help)"
