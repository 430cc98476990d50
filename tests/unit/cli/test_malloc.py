"""Freed memory is kept where the allocator is glibc's."""

import platform
import subprocess
import sys

from kiloword.cli import malloc


def test_glibc_accepts_it():
    program = "from kiloword.cli.malloc import keep_freed; print(keep_freed(), len(bytearray(1 << 26)))"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert printed[1] == str(1 << 26)
    if platform.libc_ver()[0] == "glibc":
        assert printed[0] == "True"


def test_elsewhere_nothing_is_done(monkeypatch):
    monkeypatch.setattr(malloc.sys, "platform", "darwin")
    assert not malloc.keep_freed()
