"""Fetching: from an address with resuming, from the hub with its sum; offline there is one clear line."""

import hashlib
import http.server
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from kiloword.published import fetch as module
from kiloword.published.fetch import fetch
from kiloword.published.page import File

CONTENT = bytes(range(256)) * 5000


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT at /whole; /stops sends half of a request; /plain knows no ranges; /gone does not exist."""

    requested: tuple[tuple[str, str | None], ...] = ()

    def do_GET(self):
        Server.requested += ((self.path, self.headers["Range"]),)
        if self.path == "/gone":
            self.send_error(404)
            return
        start = int((self.headers["Range"] or "bytes=0-")[6:-1]) if self.path != "/plain" else 0
        if start > len(CONTENT):
            self.send_error(416)
            return
        rest = CONTENT[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: len(rest) // 2] if self.path == "/stops" else rest)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("no_proxy", "*")
    Server.requested = ()
    running = http.server.HTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    thread.join()
    running.server_close()


def test_a_file_is_fetched_once_and_progress_is_reported(server, tmp_path):
    reports = []
    path = fetch(File("a/x.pkl", url=f"{server}/whole"), tmp_path, lambda done, total: reports.append((done, total)))
    assert path == tmp_path / "a" / "x.pkl" and path.read_bytes() == CONTENT
    assert reports[-1] == (len(CONTENT), len(CONTENT)) and reports == sorted(reports) and len(reports) > 1
    assert fetch(File("a/x.pkl", url=f"{server}/whole"), tmp_path) == path and len(Server.requested) == 1
    assert [found.name for found in path.parent.iterdir()] == ["x.pkl"]


def test_what_was_stopped_goes_on(server, tmp_path):
    with pytest.raises(ValueError, match=r"ended after 640,000 of 1,280,000 bytes|could not be fetched"):
        fetch(File("x.pkl", url=f"{server}/stops"), tmp_path)
    assert not (tmp_path / "x.pkl").exists() and (tmp_path / "x.pkl.part").stat().st_size == 640_000
    assert fetch(File("x.pkl", url=f"{server}/whole"), tmp_path).read_bytes() == CONTENT
    assert Server.requested[-1] == ("/whole", "bytes=640000-")


def test_servers_without_ranges_and_parts_that_are_too_long(server, tmp_path):
    (tmp_path / "x.pkl.part").write_bytes(b"something else")
    assert fetch(File("x.pkl", url=f"{server}/plain"), tmp_path).read_bytes() == CONTENT
    (tmp_path / "y.pkl.part").write_bytes(bytes(len(CONTENT) + 5))
    assert fetch(File("y.pkl", url=f"{server}/whole"), tmp_path).read_bytes() == CONTENT


def test_what_cannot_be_had_is_one_line(server, tmp_path):
    with pytest.raises(ValueError, match=r"/gone could not be fetched \(the server says 404"):
        fetch(File("x.pkl", url=f"{server}/gone"), tmp_path)
    with pytest.raises(ValueError, match=r"could not be fetched \(.*\): try again .* --from") as raised:
        fetch(File("x.pkl", url="http://127.0.0.1:1/x.pkl"), tmp_path)
    assert "\n" not in str(raised.value) and not list(tmp_path.iterdir())


class Hub:
    """Stands for the hub: `online`, a cached file, and the sum that the hub reports."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, content: bytes = CONTENT):
        self.sum, self.online, self.cached, self.reported = hashlib.sha256(CONTENT).hexdigest(), True, True, self
        self.blob = folder / "blobs" / self.sum
        self.link = folder / "snapshots" / "vq.pt"
        for path in (self.blob, self.link):
            path.parent.mkdir()
        self.blob.write_bytes(content)
        self.link.symlink_to(self.blob)
        self.large = SimpleNamespace(sha256=self.sum)
        monkeypatch.setattr("huggingface_hub.hf_hub_download", self.download)
        monkeypatch.setattr("huggingface_hub.HfApi.get_paths_info", self.info)
        monkeypatch.setattr(module, "_hub_is_known", lambda: self.online)

    def download(self, repository: str, name: str, local_files_only: bool) -> str:
        from huggingface_hub.errors import LocalEntryNotFoundError

        assert (repository, name) == ("who/what", "vq.pt") and local_files_only is not self.online
        if not self.cached:
            raise LocalEntryNotFoundError("An error happened\nwhile trying to locate the file")
        return str(self.link)

    def info(self, repository: str, paths: list[str]) -> list:
        assert (repository, paths) == ("who/what", ["vq.pt"])
        return [SimpleNamespace(lfs=self.large)]


HUB_FILE = File("vq.pt", "who/what")


def test_a_file_from_the_hub_is_checked_by_its_sum(tmp_path, monkeypatch):
    hub = Hub(tmp_path, monkeypatch)
    assert fetch(HUB_FILE, tmp_path).read_bytes() == CONTENT
    hub.large = None  # small files have no sum
    assert fetch(HUB_FILE, tmp_path) == hub.link
    hub.large, hub.online = SimpleNamespace(sha256="0" * 64), False  # offline nobody asks
    assert fetch(HUB_FILE, tmp_path) == hub.link


@pytest.mark.parametrize("online", [True, False])
def test_a_file_that_is_not_what_the_hub_has_is_removed(tmp_path, monkeypatch, online):
    hub = Hub(tmp_path, monkeypatch, content=CONTENT[:-1])
    hub.online = online
    with pytest.raises(
        ValueError, match=r"vq.pt of who/what has sha256 \w{12}\.\.\., the hub says \w{12}.*fetch it again"
    ):
        fetch(HUB_FILE, tmp_path)
    assert not hub.blob.exists() and not hub.link.is_symlink()


def test_offline_without_a_cached_file_there_is_one_line(tmp_path, monkeypatch):
    hub = Hub(tmp_path, monkeypatch)
    hub.online = hub.cached = False
    with pytest.raises(
        ValueError, match=r"vq.pt of who/what is not in the cache and the hub cannot be reached"
    ) as raised:
        fetch(HUB_FILE, tmp_path)
    assert "\n" not in str(raised.value) and "--from" in str(raised.value)


def test_other_failures_of_the_hub_are_one_line(tmp_path, monkeypatch):
    hub = Hub(tmp_path, monkeypatch)
    monkeypatch.setattr(hub, "download", None)

    def refused(*_, **__):
        raise OSError("403 Client Error\nCannot access gated repo")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", refused)
    with pytest.raises(ValueError, match=r"could not be fetched from the hub \(403 Client Error\)$"):
        fetch(HUB_FILE, tmp_path)
