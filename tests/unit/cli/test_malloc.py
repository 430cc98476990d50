"""Freed memory is kept where the system's own allocator can be asked for that."""

import platform
import subprocess
import sys

from kiloword.cli import malloc


def test_it_can_be_asked_for_under_glibc():
    program = "from kiloword.cli.malloc import keep_freed; print(keep_freed(), len(bytearray(1 << 26)))"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert told[1] == str(1 << 26)
    if platform.libc_ver()[0] == "glibc":
        assert told[0] == "True"


def test_elsewhere_nothing_is_done(monkeypatch):
    monkeypatch.setattr(malloc.sys, "platform", "darwin")
    assert not malloc.keep_freed()
