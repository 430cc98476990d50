"""Fetching authors' files: from the Hugging Face hub or from an address; what was stopped goes on, what came is kept.

Source: huggingface_hub's reference for the hub; RFC 9110, section 14 (ranges), for addresses.
"""

import hashlib
import os
import re
import socket
from collections.abc import Callable
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path
from ssl import SSLError
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, getproxies, urlopen

from kiloword.formats.sharded import is_index, shards_of
from kiloword.published.page import File

CHUNK = 1 << 20
REMEDY = "try again to go on from what has come, or give the file with --from if you have it"

# Called with the bytes fetched so far and in all (None if the server does not say).
Report = Callable[[int, int | None], None]


def fetch(file: File, folder: Path, report: Report = lambda done, total: None) -> Path:
    """The file on disk, checked against the hub's sum if it comes from there; an index brings the files that it names.
    Files with an address lie in `folder`.

    Raises ValueError in one line if it cannot be had.
    """
    if not file.repository and not file.url:
        raise ValueError(f"{file.name} has not been published: give one of your own with --from")
    if not file.repository:
        return _from_address(file, folder, report)
    path = _from_hub(file)
    for shard in shards_of(path) if is_index(file.name) else ():
        _from_hub(replace(file, name=Path(file.name).with_name(shard).as_posix()))
    return path


def _from_hub(file: File) -> Path:
    """Out of the hub's own cache, where an interrupted download goes on; huggingface_hub shows how far it is."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    where, online = f"{file.name} of {file.repository}", _hub_is_known()
    try:
        path = Path(hf_hub_download(file.repository, file.name, local_files_only=not online))
    except LocalEntryNotFoundError as error:
        raise ValueError(f"{where} is not in the cache and the hub cannot be reached: {REMEDY}") from error
    except Exception as error:  # the hub's client lets through what the clients under it raise
        raise ValueError(f"{where} could not be fetched from the hub ({_line(error)})") from error
    wanted, found = (_sum_at_hub(file) if online else None) or _sum_in_cache(path), _sum(path)
    if wanted is not None and wanted != found:
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise ValueError(f"{where} has sha256 {found[:12]}..., the hub says {wanted[:12]}...: removed, fetch it again")
    return path


def _hub_is_known() -> bool:
    """Whether the hub's name can be looked up, or somebody else does that. The client would wait half a minute."""
    from huggingface_hub import constants

    if getproxies():
        return True
    try:
        return bool(socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, None))
    except OSError:
        return False


def _sum_at_hub(file: File) -> str | None:
    """SHA-256 of a large file, as the hub has it; None for small files, and if the hub doesn't answer."""
    from huggingface_hub import HfApi

    try:
        (facts,) = HfApi().get_paths_info(file.repository, [file.name])
    except Exception:  # whatever the matter is, the file is here
        return None
    large = getattr(facts, "lfs", None)
    return large.sha256 if large else None


def _sum_in_cache(path: Path) -> str | None:
    """The same as it was when the file came: the hub's cache names large files by it, and links to them."""
    named = path.resolve().name
    return named if re.fullmatch(r"[0-9a-f]{64}", named) else None


def _sum(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _from_address(file: File, folder: Path, report: Report) -> Path:
    """Fetched once. What has come so far lies beside it with the ending .part."""
    path = folder / file.name
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    try:
        done, total = _fetch_rest(file.url, part, report)
    except HTTPError as error:
        if error.code == 416 and part.exists():  # more is here than there is: what is here is not that file
            part.unlink()
            return _from_address(file, folder, report)
        raise ValueError(f"{file.url} could not be fetched (the server says {error.code} {error.reason})") from error
    except (URLError, HTTPException, ConnectionError, TimeoutError, SSLError) as error:
        reason = getattr(error, "reason", error)
        raise ValueError(f"{file.url} could not be fetched ({_line(reason)}): {REMEDY}") from error
    if total is not None and done != total:
        raise ValueError(f"{file.url} ended after {done:,} of {total:,} bytes: fetch again to go on from there")
    os.replace(part, path)
    return path


def _fetch_rest(url: str, part: Path, report: Report) -> tuple[int, int | None]:
    """Append what is missing to `part`: how many bytes are here then, and how many there should be."""
    done = part.stat().st_size if part.exists() else 0
    request = Request(url, headers={"User-Agent": "kiloword"} | ({"Range": f"bytes={done}-"} if done else {}))
    with urlopen(request, timeout=60) as answer:
        done = done if answer.status == 206 else 0  # otherwise the server sends it all
        length = answer.headers.get("Content-Length")
        total = done + int(length) if length is not None else None
        with open(part, "ab" if done else "wb") as out:
            while chunk := answer.read(CHUNK):
                done += out.write(chunk)
                report(done, total)
    return done, total


def _line(error: object) -> str:
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__
