"""Fetching one version of one package with the user's own npm, so that their mirror, proxy and login apply.

Source: the manual of `npm pack`.
"""

import os
import subprocess
import tempfile
from pathlib import Path

from kiloword.data.emoji.sources import Package


def fetch(package: Package, cache: Path) -> Path:
    """The package's tarball in the cache folder; fetched once, kept for ever (a published version never changes)."""
    path = cache / f"{package.name.lstrip('@').replace('/', '-')}-{package.version}.tgz"
    if path.exists():
        return path
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        _pack(package, folder)
        tarballs = list(Path(folder).glob("*.tgz"))
        if len(tarballs) != 1:
            raise ValueError(f"npm pack {package.spec} left {len(tarballs)} tarballs, not 1: try it by hand")
        os.replace(tarballs[0], path)
    return path


def _pack(package: Package, folder: str) -> None:
    command = ["npm", "pack", package.spec, "--silent", "--pack-destination", folder]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    except FileNotFoundError:
        raise ValueError("npm is not installed, and the emoji packages come from it: install Node.js first") from None
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[0]
        raise ValueError(f"npm could not fetch {package.spec} ({reason}): run `npm pack {package.spec}` to see why")
