"""Downloads from a local server that misbehaves in every way a real one does."""

import builtins
import contextlib
import gzip
import hashlib
import os
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from jaxdl import data, extras
from jaxdl.data.reading import fetching, loading, sources
from jaxdl.data.reading.sources import IdxSource

pytest.importorskip("pooch", reason="downloads need pooch")

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 4, 4), dtype=np.uint8)
CONTENT = {
    "train-images-idx3-ubyte": bytes([0, 0, 8, 3]) + struct.pack(">3I", 20, 4, 4) + PIXELS.tobytes(),
    "train-labels-idx1-ubyte": bytes([0, 0, 8, 1]) + struct.pack(">I", 20) + bytes(range(10)) * 2,
    "t10k-images-idx3-ubyte": bytes([0, 0, 8, 3]) + struct.pack(">3I", 5, 4, 4) + PIXELS[:5].tobytes(),
    "t10k-labels-idx1-ubyte": bytes([0, 0, 8, 1]) + struct.pack(">I", 5) + bytes([4, 3, 2, 1, 0]),
}
GOOD = {f"/{name}.gz": gzip.compress(value, mtime=0) for name, value in CONTENT.items()}
FIRST = "/train-images-idx3-ubyte.gz"


class Server(ThreadingHTTPServer):
    """Serve `pages`; the `faults` of a path come first, one per request."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages, self.faults, self.asked = dict(GOOD), {}, []
        self.over = threading.Event()
        self.address = f"http://127.0.0.1:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        self.server.asked.append(self.path)
        faults = self.server.faults.get(self.path, [])
        fault = faults.pop(0) if faults else None
        body = fault if isinstance(fault, bytes) else self.server.pages.get(self.path)
        if fault == 404 or body is None:
            self.send_error(404)
            return
        self.send_response(200)
        if fault != "endless":
            self.send_header("Content-Length", str(10**12 if fault == "huge" else len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the client has had enough
            self.send_body(fault, body)

    def send_body(self, fault, body):
        self.wfile.write(body[: len(body) // 2] if fault in ("break", "stall", "drip") else body)
        if fault == "stall":
            self.server.over.wait(5)
        while fault in ("drip", "endless") and not self.server.over.is_set():
            self.wfile.write(b"x" if fault == "drip" else bytes(1 << 16))
            self.server.over.wait(0.05 if fault == "drip" else 0)

    def log_message(self, format, *args):
        del format, args


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.over.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def mnist(server, monkeypatch):
    """Redirect "mnist" to the local server."""

    def use(*mirrors):
        digests = {name: hashlib.sha256(value).hexdigest() for name, value in CONTENT.items()}
        source = IdxSource("mnist", mirrors or (server.address,), tuple("0123456789"), digests)
        monkeypatch.setattr(loading, "MNIST", source)

    use()
    return use


def refused():
    """Return an address at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/"


def kept(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_good_file_is_fetched_once_and_read_from_then_on(server, mnist, tmp_path):
    dataset = data.load("mnist", data_dir=tmp_path)
    np.testing.assert_array_equal(dataset.images[..., 0], PIXELS)
    np.testing.assert_array_equal(dataset.test_labels, [4, 3, 2, 1, 0])
    assert dataset.checksums["t10k-labels-idx1-ubyte"] == hashlib.sha256(CONTENT["t10k-labels-idx1-ubyte"]).hexdigest()
    assert kept(tmp_path / "mnist") == sorted(name[1:] for name in GOOD)
    assert len(server.asked) == 4
    data.load("mnist", data_dir=tmp_path, download=False)
    assert len(server.asked) == 4


def test_files_are_readable_by_whom_the_user_allows(mnist, tmp_path):
    data.load("mnist", data_dir=tmp_path)
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "mnist" / FIRST[1:]).stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_download_that_breaks_off_is_started_again_whole(server, mnist, tmp_path):
    server.faults[FIRST] = ["break"]
    dataset = data.load("mnist", data_dir=tmp_path)
    np.testing.assert_array_equal(dataset.images[..., 0], PIXELS)
    assert server.asked.count(FIRST) == 2
    assert (tmp_path / "mnist" / FIRST[1:]).read_bytes() == GOOD[FIRST]


def test_a_download_that_always_breaks_off_leaves_nothing_behind(server, mnist, tmp_path):
    server.faults[FIRST] = ["break"] * 9
    with pytest.raises(ConnectionError, match="broken off after") as caught:
        data.load("mnist", data_dir=tmp_path)
    assert kept(tmp_path) == []
    assert server.asked == [FIRST] * 2
    for name in GOOD:
        assert name[1:] in str(caught.value)
    assert f"into {tmp_path / 'mnist'} by hand" in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            gzip.compress(CONTENT["train-images-idx3-ubyte"][:-1] + b"\0", mtime=0),
            "the download: .*not the official ones",
        ),
        (b"<html>log in to this network first</html>", "not an IDX file"),
        (GOOD[FIRST][:-9], "the gzip file is truncated"),
    ],
)
def test_wrong_bytes_are_refused_and_not_kept(server, mnist, tmp_path, wrong, message):
    server.pages[FIRST] = wrong
    with pytest.raises(ConnectionError, match=message):
        data.load("mnist", data_dir=tmp_path)
    assert kept(tmp_path) == []


def test_a_download_that_stalls_is_started_again_once(server, tmp_path):
    server.faults[FIRST] = ["stall"]
    fetching.fetch([server.address + FIRST[1:]], tmp_path / "x.gz", check=len_of, timeout=0.3)
    assert (tmp_path / "x.gz").read_bytes() == GOOD[FIRST]
    server.faults[FIRST] = ["stall"] * 9
    with pytest.raises(ConnectionError, match=r"broken off after \d+ bytes \(.*timed out"):
        fetching.fetch([server.address + FIRST[1:]], tmp_path / "y.gz", check=len_of, timeout=0.3)
    assert server.asked == [FIRST] * 4
    assert kept(tmp_path) == ["x.gz"]


def len_of(path):
    return path.stat().st_size


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("huge", r"it has 1,000,000,000,000 bytes; at most 1,048,576 are downloaded"),
        ("endless", r"stopped after \d+ bytes, beyond 1,048,576 bytes"),
        ("drip", r"stopped after \d+ bytes, beyond the time for one download"),
    ],
)
def test_a_download_beyond_its_limits_is_left_for_the_next_mirror(server, tmp_path, fault, said):
    server.faults[FIRST] = [fault] * 9
    urls, limits = [server.address + FIRST[1:]], {"most_bytes": 1 << 20, "most_seconds": 0.3}
    with pytest.raises(ConnectionError, match=said):
        fetching.fetch(urls, tmp_path / "x.gz", check=len_of, timeout=2.0, **limits)
    assert (server.asked, kept(tmp_path)) == ([FIRST], [])
    server.pages["/other.gz"] = GOOD[FIRST]
    fetching.fetch([*urls, server.address + "other.gz"], tmp_path / "x.gz", check=len_of, timeout=2.0, **limits)
    assert (tmp_path / "x.gz").read_bytes() == GOOD[FIRST]


def test_every_mirror_is_encrypted():
    found = [mirror for value in vars(sources).values() if isinstance(value, IdxSource) for mirror in value.mirrors]
    found += [mirror for name, value in vars(sources).items() if name.endswith("_MIRRORS") for mirror in value]
    assert len(found) >= 5
    assert [mirror for mirror in found if not mirror.startswith("https://")] == []


def test_another_compression_of_the_right_bytes_is_accepted(server, mnist, tmp_path):
    server.pages[FIRST] = gzip.compress(CONTENT["train-images-idx3-ubyte"], compresslevel=0, mtime=1)
    np.testing.assert_array_equal(data.load("mnist", data_dir=tmp_path).images[..., 0], PIXELS)


@pytest.mark.parametrize("fault", [404, "refused"])
def test_the_next_mirror_is_tried_at_once(server, mnist, tmp_path, fault):
    dead = refused() if fault == "refused" else server.address + "gone/"
    mnist(dead, server.address)
    np.testing.assert_array_equal(data.load("mnist", data_dir=tmp_path).images[..., 0], PIXELS)
    assert len(server.asked) == (4 if fault == "refused" else 8)


def test_without_a_network_the_message_says_where_to_put_files(mnist, tmp_path):
    first, second = refused(), refused()
    mnist(first, second)
    with pytest.raises(ConnectionError) as caught:
        data.load("mnist", data_dir=tmp_path)
    message = str(caught.value)
    assert first in message
    assert second in message
    assert f"put {', '.join(name[1:] for name in GOOD)} into {tmp_path / 'mnist'} by hand" in message
    assert kept(tmp_path) == []


def test_without_permission_nothing_is_downloaded(server, mnist, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train-images-idx3-ubyte.gz, .* not found in") as caught:
        data.load("mnist", data_dir=tmp_path, download=False)
    assert str(tmp_path / "mnist") in str(caught.value)
    assert server.asked == []


def test_a_folder_that_cannot_be_made_is_named(mnist, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"the data folder .*file.* cannot be created"):
        data.load("mnist", data_dir=tmp_path / "file")


def test_a_missing_library_names_the_extra(monkeypatch, mnist, tmp_path):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == "pooch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(extras.importlib, "import_module", without)
    with pytest.raises(ImportError, match=r"needs pooch: install it with `pip install 'jaxdl\[experiments\]'`"):
        data.load("mnist", data_dir=tmp_path)


def test_folders_come_from_the_argument_the_variable_or_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("JAXDL_DATA_DIR", raising=False)
    assert fetching.data_folder() == tmp_path / "cache" / "jaxdl"
    monkeypatch.setenv("JAXDL_DATA_DIR", str(tmp_path / "data"))
    assert fetching.data_folder() == tmp_path / "data"
    assert fetching.data_folder(tmp_path) == tmp_path
