"""The engine for OpenAI-style servers, against a server on this machine that misbehaves on request."""

import base64
import io
import json
import logging
import socket
import threading
import time
from dataclasses import replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from tpr.captioning.engines.base import CaptionReply, CaptionRequest
from tpr.captioning.engines.openai_server import OpenAIServer
from tpr.captioning.engines.server_calls import read_retry_after
from tpr.config.typed import build_options
from tpr.errors import ConfigError, UserError

KEY = "sk-only-for-this-test"


class Handler(BaseHTTPRequestHandler):
    """Answers with the instruction, after what `server.moods` says for it."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.keys.append(self.headers.get("Authorization"))
        status, body = self.server.listing
        self.send(status, body)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        words = body["messages"][0]["content"][1]["text"]
        with self.server.lock:
            self.server.open_calls += 1
            self.server.most_open = max(self.server.most_open, self.server.open_calls)
            self.server.calls.append((words, time.monotonic(), body))
            self.server.keys.append(self.headers.get("Authorization"))
            moods = self.server.moods.setdefault(words, [])
            mood = moods.pop(0) if moods else "well"
        if self.server.gate:
            self.server.gate.wait(30)
        with self.server.lock:
            self.server.open_calls -= 1
        getattr(self, f"be_{mood}")(words)

    def be_well(self, words, reason="stop"):
        choice = {"message": {"role": "assistant", "content": f" {words}! "}, "finish_reason": reason}
        self.send(200, json.dumps({"choices": [choice]}))

    def be_long(self, words):
        self.be_well(words, "length")

    def be_slow(self, words):
        self.server.release.wait(self.server.patience)
        self.close_connection = True

    def be_dribbling(self, words):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.close_connection = True
        for _ in range(100):
            if self.server.release.wait(0.05):
                return
            try:
                self.wfile.write(b" ")
            except OSError:
                return

    def be_busy(self, words):
        self.send(429, '{"error": {"message": "later"}}', {"Retry-After": "1"})

    def be_broken(self, words):
        self.send(500, "oops")

    def be_cut(self, words):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b'{"choices": [')
        self.close_connection = True

    def be_gone(self, words):
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def be_garbled(self, words):
        self.send(200, '{"choices": [{"message"')

    def be_empty(self, words):
        self.send(200, '{"choices": []}')

    def be_strict(self, words):
        said = self.headers.get("Authorization", "")
        self.send(400, json.dumps({"error": {"message": f"image too large\n for {said}"}}))

    def be_closed(self, words):
        self.send(401, f"bad key {KEY}")

    def be_elsewhere(self, words):
        self.send(404, json.dumps({"error": {"message": f"no model for {KEY}"}}))

    def be_moved(self, words):
        self.send(302, "", {"Location": "http://127.0.0.1:9/steal"})

    def send(self, status, body, headers=None):
        data = body.encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request, client_address):
        pass  # clients that gave up are part of the tests


@pytest.fixture
def server():
    server = QuietServer(("127.0.0.1", 0), Handler)
    server.lock, server.release = threading.Lock(), threading.Event()
    server.open_calls = server.most_open = 0
    server.calls, server.keys, server.moods = [], [], {}
    server.gate, server.patience = None, 10.0
    server.listing = (200, '{"data": []}')
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.release.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture
def engine(server):
    engine = make_engine(server)
    yield engine
    engine.close()


def make_engine(server, **changes):
    values = {
        "model": "tiny",
        "url": f"http://127.0.0.1:{server.server_address[1]}/v1",
        "first_wait_seconds": 0.01,
        "longest_wait_seconds": 0.05,
        "timeout_seconds": 3.0,
        "concurrency": 4,
        **changes,
    }
    return OpenAIServer(OpenAIServer.Options(**values))


@pytest.fixture
def image(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (128, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "person.png")
    return tmp_path / "person.png"


def ask(path, words="describe", seed=7):
    return CaptionRequest(
        image=path.name, path=path, view="static-0", instruction=words, template=None, style=None, seed=seed
    )


@pytest.mark.slow
def test_order_is_kept_whatever_each_call_goes_through(server, engine, image):
    moods = ["slow", "busy", "broken", "cut", "gone", "garbled", "empty", "dribbling"]
    requests = [ask(image, f"person {index}") for index in range(24)]
    server.moods = {f"person {2 * index}": [mood] for index, mood in enumerate(moods)}
    replies = engine.generate(requests)
    assert replies == [CaptionReply(text=f"person {index}!") for index in range(24)]
    assert len(server.calls) == 24 + len(moods)


def test_a_style_goes_to_the_chat_template(server, engine, image):
    engine.generate([ask(image, "plain"), replace(ask(image, "styled"), style=7)])
    bodies = {words: body for words, _, body in server.calls}
    assert bodies["styled"]["chat_template_kwargs"] == {"style": 7}
    assert "chat_template_kwargs" not in bodies["plain"]


def test_no_more_calls_are_open_than_asked_for(server, image):
    server.gate = threading.Barrier(3)  # opens once three calls wait
    engine = make_engine(server, concurrency=3, timeout_seconds=60)
    replies = engine.generate([ask(image) for _ in range(12)])
    engine.close()
    assert replies == [CaptionReply(text="describe!")] * 12
    assert server.most_open == 3


def test_retry_after_is_followed(server, engine, image):
    server.moods = {"describe": ["busy"]}
    engine.generate([ask(image)])
    (_, first, _), (_, second, _) = server.calls
    assert second - first >= 1.0  # the back-off alone would have been 0.01 s


@pytest.mark.parametrize(("header", "seconds"), [(None, 0), ("3", 3), ("soon", 0), ("-1", 0), ("1.5", 0)])
def test_retry_after_in_seconds(header, seconds):
    assert read_retry_after(header) == seconds


def test_retry_after_as_a_date():
    assert read_retry_after(formatdate(time.time() + 30, usegmt=True)) == pytest.approx(30, abs=1.5)
    assert read_retry_after(formatdate(time.time() - 30, usegmt=True)) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mood", "reason"),
    [
        ("broken", "server said 500"),
        ("busy", "server said 429"),
        ("cut", "connection cut"),
        ("garbled", "broken JSON"),
        ("slow", "server timed out"),
        ("dribbling", "server timed out"),
    ],
)
def test_patience_ends_with_a_reason(server, image, mood, reason):
    # Only those that never answer are waited for.
    patience = 0.5 if reason == "server timed out" else 60.0
    engine = make_engine(server, retries=1, timeout_seconds=patience)
    server.moods = {"describe": [mood, mood, mood]}
    assert engine.generate([ask(image)]) == [CaptionReply(text=None, failure=reason)]
    assert len(server.calls) == 2
    engine.close()


def test_a_refused_request_is_not_repeated(server, engine, image, caplog):
    server.moods = {"describe": ["strict", "strict"]}
    replies = engine.generate([ask(image), ask(image)])
    assert replies == [CaptionReply(text=None, failure="server said 400", is_fatal=True)] * 2
    assert len(server.calls) == 2
    assert [record.getMessage() for record in caplog.records] == [
        "openai: the server said 400: image too large for Bearer ***"
    ]


def test_a_redirect_is_not_followed(server, engine, image):
    server.moods = {"describe": ["moved"]}
    assert engine.generate([ask(image)])[0].failure == "server said 302"


def test_a_text_that_was_cut_or_is_empty_is_a_failure(server, engine, image, monkeypatch):
    server.moods = {"describe": ["long"]}
    assert engine.generate([ask(image)]) == [CaptionReply(text=None, failure="truncated")]
    monkeypatch.setattr(Handler, "be_well", lambda self, words: self.send(200, json.dumps(
        {"choices": [{"message": {"content": None}, "finish_reason": "stop"}]}
    )))  # fmt: skip
    assert engine.generate([ask(image)]) == [CaptionReply(text=None, failure="empty reply")]


@pytest.mark.parametrize("mood", ["closed", "elsewhere"])
def test_what_no_request_survives_stops_the_run_at_once(server, image, mood):
    engine = make_engine(server, timeout_seconds=300)
    requests = [ask(image, f"person {index}") for index in range(40)]
    server.moods = {"person 0": ["slow"], "person 3": [mood]}
    server.patience, began = 200.0, time.monotonic()
    with pytest.raises(UserError, match=r"^openai: http://127.0.0.1:\d+/v1 ") as caught:
        engine.generate(requests)
    assert time.monotonic() - began < 60  # the slow call before it is cut
    assert KEY not in str(caught.value) and "\n" not in str(caught.value)
    assert engine.generate([ask(image, "person 50")]) == [CaptionReply(text="person 50!")]
    engine.close()


def test_the_call_says_what_the_plan_says(server, engine, image):
    engine.generate([ask(image, seed=123)])
    body = server.calls[0][2]
    said = {name: body[name] for name in ("model", "seed", "temperature", "top_p", "max_tokens")}
    assert said == {"model": "tiny", "seed": 123, "temperature": 0.7, "top_p": 0.9, "max_tokens": 192}


def sent_image(server):
    url = server.calls[-1][2]["messages"][0]["content"][0]["image_url"]["url"]
    head, data = url.split(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_the_image_is_shrunk_to_the_bound_and_never_cropped(server, tmp_path):
    pixels = np.full((400, 100, 3), 128, dtype=np.uint8)
    pixels[:40], pixels[-40:] = (255, 0, 0), (0, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "tall.png")
    engine = make_engine(server, longest_side=200)
    engine.generate([ask(tmp_path / "tall.png")])
    engine.close()
    sent = sent_image(server)
    assert sent.size == (50, 200)
    assert sent.getpixel((25, 3))[0] > 240 and sent.getpixel((25, 196))[2] > 240


def test_a_small_image_is_sent_at_its_size(server, engine, image):
    engine.generate([ask(image)])
    assert sent_image(server).size == (48, 128)


def test_an_unreadable_image_is_one_failure_and_no_call(server, engine, image, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    replies = engine.generate([ask(tmp_path / "bad.jpg"), ask(image), ask(tmp_path / "absent.jpg")])
    bad = CaptionReply(text=None, failure="unreadable image", is_fatal=True)
    assert replies == [bad, CaptionReply(text="describe!"), bad]
    assert len(server.calls) == 1


def test_the_key_reaches_the_server_and_nothing_else(server, engine, image, caplog):
    caplog.set_level(logging.DEBUG)
    server.moods = {"describe": ["strict"]}
    replies = engine.generate([ask(image)])
    assert set(server.keys) == {f"Bearer {KEY}"}
    told = [
        json.dumps(engine.describe()),
        repr(engine.options),
        repr(vars(engine)),
        repr(replies),
        caplog.text,
    ]
    assert not [text for text in told if KEY in text]


def test_without_a_key_no_header_is_sent(server, image, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    engine = make_engine(server)
    engine.generate([ask(image)])
    engine.close()
    assert set(server.keys) == {None}


def test_a_refused_key_names_the_variable(server, monkeypatch):
    server.listing = (401, "no")
    with pytest.raises(UserError, match=r"MY_KEY is not set$"):
        make_engine(server, key_variable="MY_KEY")
    monkeypatch.setenv("MY_KEY", "sk-other")
    with pytest.raises(UserError, match=r"MY_KEY does not fit$"):
        make_engine(server, key_variable="MY_KEY")


def test_a_key_with_a_line_break_inside_is_refused_without_being_shown(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-one\nX-Header: two")
    with pytest.raises(UserError, match="holds letters that no key has") as caught:
        make_engine(server)
    assert "sk-one" not in str(caught.value)


def test_a_server_that_lists_no_models_is_fine(server, image):
    server.listing = (404, "no")
    engine = make_engine(server)
    assert engine.generate([ask(image)]) == [CaptionReply(text="describe!")]
    engine.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_server_that_is_down_is_one_line_with_address_and_remedy():
    url = f"http://127.0.0.1:{free_port()}/v1"
    with pytest.raises(UserError) as caught:
        OpenAIServer(OpenAIServer.Options(model="tiny", url=url))
    text = str(caught.value)
    assert text.startswith(f"openai: {url}: no connection (Connection refused); start the server")
    assert "vllm serve" in text and "\n" not in text


def test_a_server_that_goes_for_good_stops_the_run(image, server):
    engine = make_engine(server, retries=1)
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match="run again: what is finished stays"):
        engine.generate([ask(image) for _ in range(8)])
    engine.close()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"url": "127.0.0.1:8000"}, r"url must look like http://127.0.0.1:8000/v1, got '127.0.0.1:8000'"),
        ({"url": "http://me:secret@host/v1"}, "url must not hold a name or a password"),
        ({"url": "http://host:99999/v1"}, "url must look like"),
        ({"url": "http://host/v1?key=a"}, "url must look like"),
        ({"concurrency": 0}, r"concurrency: expected int in \[1, 1024\], got 0"),
        ({"timeout_seconds": 0}, r"timeout_seconds: expected float in \(0, 10000000\]"),
        ({"top_p": 0}, r"top_p: expected float in \(0, 1\]"),
        ({"concurency": 3}, r"did you mean 'concurrency'\?"),
    ],
)
def test_wrong_options_are_named(values, message):
    with pytest.raises(ConfigError, match=message) as caught:
        build_options(OpenAIServer.Options, {"model": "tiny", **values}, {}, "engine")
    assert "secret" not in str(caught.value)
