"""Downloads against a server on the loopback interface: whole and right, or not at all."""

import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tatami.data import load_mnist, write_idx
from tatami.data.download import RemoteFile, download, part_of
from tatami.data.mnist import FILES, MNIST, TEST_LABELS, cache_folder
from tatami.errors import DataError

CONTENT = bytes(range(256)) * 400
FILE = RemoteFile("file.gz", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


class Handler(BaseHTTPRequestHandler):
    """Answers /ANSWER/name with what the test put under ANSWER."""

    def do_GET(self):
        answer, _, name = self.path.lstrip("/").partition("/")
        self.server.asked.append(self.path)
        self.server.answers[answer](self, name)

    def log_message(self, *arguments):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, Callable] = {}
        self.asked: list[str] = []

    def mirror(self, answer: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{answer}/"


def content(data, promised=None):
    def answer(handler, name):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data) if promised is None else promised))
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def not_found(handler, name):
    handler.send_error(404)


def hang_up(handler, name):
    handler.close_connection = True


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server() as running:
        running.answers = {
            "good": content(CONTENT),
            "missing": not_found,
            "hang-up": hang_up,
            "short": content(CONTENT[:-1]),
            "truncated": content(CONTENT[:1000], promised=len(CONTENT)),
            "long": content(CONTENT + b"x"),
            "endless": content(CONTENT * 20),
            "wrong": content(CONTENT[::-1]),
        }
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_the_first_mirror_that_has_it_is_used(server, tmp_path):
    mirrors = [
        server.mirror(answer) for answer in ("missing", "hang-up", "truncated", "wrong", "good", "missing")
    ]
    path = download(FILE, mirrors, tmp_path / "new" / "cache")
    assert path == tmp_path / "new" / "cache" / "file.gz"
    assert path.read_bytes() == CONTENT
    assert [asked.split("/")[1] for asked in server.asked] == [
        "missing",
        "hang-up",
        "truncated",
        "wrong",
        "good",
    ]
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("missing", "HTTP 404 Not Found"),
        ("hang-up", "Remote end closed connection without response"),
        ("short", "expected 102,400 bytes, got 102,399"),
        ("truncated", "expected 102,400 bytes, got 1,000"),
        ("long", "expected 102,400 bytes, got more"),
        ("endless", "expected 102,400 bytes, got more"),
        ("wrong", f"wrong content: expected SHA-256 {FILE.sha256}, got [0-9a-f]{{64}}"),
    ],
)
def test_what_is_not_right_is_not_kept(server, tmp_path, answer, reason):
    with pytest.raises(
        DataError, match=rf"file\.gz could not be downloaded \(http://127.*/{answer}/: .*{reason}\)"
    ):
        download(FILE, [server.mirror(answer)], tmp_path)
    # A beginning is kept, to go on from, under a name that nobody takes for the file's.
    kept = {"short": CONTENT[:-1], "truncated": CONTENT[:1000]}.get(answer)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ([] if kept is None else [kept])
    assert not (tmp_path / "file.gz").exists()


def ranged(handler, name, total=None, shift=0, status=206):
    """Answer as servers do that can go on in the middle."""
    text = handler.headers.get("Range")
    handler.server.ranges.append(text)
    start = int(text.removeprefix("bytes=").removesuffix("-")) if text else 0
    shift = shift if text else 0
    rest = CONTENT[start + shift :]
    handler.send_response(status if text else 200)
    handler.send_header("Content-Length", str(len(rest)))
    if text:
        last = len(CONTENT) - 1
        handler.send_header("Content-Range", f"bytes {start + shift}-{last}/{total or len(CONTENT)}")
    handler.end_headers()
    handler.wfile.write(rest)


def test_a_download_goes_on_where_the_last_one_broke_off(server, tmp_path):
    server.ranges = []
    server.answers["ranged"] = ranged
    with pytest.raises(DataError):
        download(FILE, [server.mirror("truncated")], tmp_path)
    assert download(FILE, [server.mirror("ranged")], tmp_path).read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-"]
    assert [path.name for path in tmp_path.iterdir()] == ["file.gz"]


def test_the_next_mirror_goes_on_where_the_first_broke_off(server, tmp_path):
    server.ranges = []
    server.answers["ranged"] = ranged
    mirrors = [server.mirror("truncated"), server.mirror("ranged")]
    assert download(FILE, mirrors, tmp_path).read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-"]


@pytest.mark.parametrize(
    ("answer", "asked"),
    [
        ("good", 1),  # ignores the range, and sends all
        (lambda handler, name: ranged(handler, name, total=7), 2),  # of a file of another size
        (lambda handler, name: ranged(handler, name, shift=5), 2),  # another part than was asked for
        (
            lambda handler, name: (
                handler.send_error(416) if handler.headers.get("Range") else content(CONTENT)(handler, name)
            ),
            2,
        ),
    ],
)
def test_a_server_that_cannot_go_on_begins_anew(server, tmp_path, answer, asked):
    server.ranges = []
    server.answers["odd"] = answer if callable(answer) else server.answers[answer]
    part_of(FILE, tmp_path).write_bytes(CONTENT[:1000])
    assert download(FILE, [server.mirror("odd")], tmp_path).read_bytes() == CONTENT
    assert len(server.asked) == asked


@pytest.mark.parametrize("wrong", [b"x" * 1000, b"x" * len(CONTENT), b"x" * (len(CONTENT) + 9)])
def test_a_part_of_something_else_is_thrown_away(server, tmp_path, wrong):
    server.ranges = []
    server.answers["ranged"] = ranged
    part_of(FILE, tmp_path).write_bytes(wrong)
    assert download(FILE, [server.mirror("ranged")], tmp_path).read_bytes() == CONTENT
    assert server.ranges[-1] is None


def test_a_part_that_is_whole_needs_no_server(server, tmp_path):
    part_of(FILE, tmp_path).write_bytes(CONTENT)
    assert download(FILE, [server.mirror("missing")], tmp_path).read_bytes() == CONTENT
    assert server.asked == []


def redirect(address):
    def answer(handler, name):
        handler.send_response(302)
        handler.send_header("Location", address)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def test_redirections_stay_in_the_web(server, tmp_path):
    (tmp_path / "secret").write_bytes(CONTENT)
    for address in (f"file://{tmp_path}/secret", "ftp://127.0.0.1/file.gz", "data:text/plain,x"):
        server.answers["elsewhere"] = redirect(address)
        with pytest.raises(DataError, match=r"/elsewhere/: .*(which is not followed|not allowed)"):
            download(FILE, [server.mirror("elsewhere")], tmp_path / "cache")
    server.answers["there"] = redirect(server.mirror("good") + "file.gz")
    assert download(FILE, [server.mirror("there")], tmp_path / "cache").read_bytes() == CONTENT
    server.answers["round"] = redirect(server.mirror("round") + "file.gz")
    with pytest.raises(DataError, match="infinite loop"):
        download(FILE, [server.mirror("round")], tmp_path / "other")
    with pytest.raises(DataError, match="only http and https are downloaded from"):
        download(FILE, [f"file://{tmp_path}/"], tmp_path / "other")


def test_a_server_that_falls_silent_is_given_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr("tatami.data.download.TIMEOUT_SECONDS", 0.2)
    gone = threading.Event()

    def silent(handler, name):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.end_headers()
        handler.wfile.write(CONTENT[:500])
        handler.wfile.flush()
        gone.wait(20)

    server.answers["silent"] = silent
    try:
        mirrors = [server.mirror("silent"), server.mirror("good")]
        assert download(FILE, mirrors, tmp_path).read_bytes() == CONTENT
        with pytest.raises(DataError, match="timed out"):
            download(FILE, mirrors[:1], tmp_path / "other")
    finally:
        gone.set()


def test_two_processes_that_want_the_same_file_fetch_it_once(server, tmp_path):
    def slow(handler, name):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.end_headers()
        for start in range(0, len(CONTENT), 10_240):
            handler.wfile.write(CONTENT[start : start + 10_240])
            time.sleep(0.05)

    server.answers["slow"] = slow
    script = (
        "import sys; from pathlib import Path; from tatami.data.download import *; "
        "file = RemoteFile(sys.argv[1], int(sys.argv[2]), sys.argv[3]); print('begun', flush=True); "
        "print(len(download(file, [sys.argv[4]], Path(sys.argv[5])).read_bytes()))"
    )
    words = [FILE.name, str(FILE.size), FILE.sha256, server.mirror("slow"), str(tmp_path)]
    running = [
        subprocess.Popen([sys.executable, "-c", script, *words], stdout=subprocess.PIPE) for _ in range(2)
    ]
    assert [process.communicate(timeout=60)[0] for process in running] == [b"begun\n102400\n"] * 2
    assert (tmp_path / "file.gz").read_bytes() == CONTENT
    assert len(list(tmp_path.iterdir())) == 1
    assert len(server.asked) <= 2


def test_a_file_that_was_there_survives_a_failed_download(server, tmp_path):
    (tmp_path / "file.gz").write_bytes(b"old")
    with pytest.raises(DataError):
        download(FILE, [server.mirror("wrong")], tmp_path)
    assert (tmp_path / "file.gz").read_bytes() == b"old"


def test_a_mirror_that_is_not_there_is_named(tmp_path):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as closed:
        port = closed.server_port
    with pytest.raises(DataError, match=rf"127\.0\.0\.1:{port}/: .*[Rr]efused"):
        download(FILE, [f"http://127.0.0.1:{port}/"], tmp_path)


def test_a_folder_that_cannot_be_written_to_is_named(server, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DataError, match=r"file\.gz cannot be stored in .*file/cache: Not a directory"):
        download(FILE, [server.mirror("good")], tmp_path / "file" / "cache")


def test_a_full_disk_is_said_and_leaves_nothing(server, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DataError, match=r"file\.gz cannot be stored in .*: No space left on device"):
        download(FILE, [server.mirror("good")], tmp_path)
    assert not (tmp_path / "file.gz").exists()


@pytest.fixture
def small_mnist(server, tmp_path, monkeypatch):
    """Serve four small files under the names of MNIST, with their own checksums, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    import numpy as np

    folder = tmp_path / "served"
    folder.mkdir()
    replaced = []
    for file in FILES:
        shape = (20, 2, 2) if "images" in file.name else (20,)
        numbers = np.arange(20).repeat(np.prod(shape[1:], dtype=int)).reshape(shape) % 10
        write_idx(folder / file.name, numbers.astype(np.uint8))
        data = (folder / file.name).read_bytes()
        replaced.append(RemoteFile(file.name, len(data), hashlib.sha256(data).hexdigest()))
    server.small = replace(MNIST, files=tuple(replaced))
    server.answers["mnist"] = lambda handler, name: content((folder / name).read_bytes())(handler, name)
    return server


def test_mnist_is_downloaded_once_into_the_cache(small_mnist):
    for _ in range(2):
        splits = load_mnist(
            mirrors=[small_mnist.mirror("missing"), small_mnist.mirror("mnist")], kind=small_mnist.small
        )
        assert str(splits.train) == "mnist: 20 images of shape (1, 2, 2), 10 classes"
    assert len(small_mnist.asked) == 8
    assert len(list(cache_folder().iterdir())) == 4


def test_only_what_the_cache_lacks_is_downloaded(small_mnist):
    mirrors = [small_mnist.mirror("mnist")]
    load_mnist(mirrors=mirrors, kind=small_mnist.small)
    (cache_folder() / TEST_LABELS.name).unlink()
    load_mnist(mirrors=mirrors, kind=small_mnist.small)
    assert small_mnist.asked[4:] == [f"/mnist/{TEST_LABELS.name}"]


def test_without_a_connection_the_error_says_where_to_put_which_files(small_mnist):
    with pytest.raises(DataError) as caught:
        load_mnist(mirrors=[small_mnist.mirror("missing")])
    message = str(caught.value)
    assert message.startswith("mnist: train-images-idx3-ubyte.gz could not be downloaded (http://127.0.0.1")
    assert "HTTP 404" in message
    assert "with --data FOLDER (data_folder in Python), or put them into " + str(cache_folder()) in message
    for file in FILES:
        assert file.name in message
