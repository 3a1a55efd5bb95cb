import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from mien.actors.openai_server import OpenAIServer, data_url
from mien.actors.prompts import prompt_for
from mien.actors.vlm import Question, Reply

LOOPBACK = "http://127.0.0.1:1/v1"


def question(text: str = "What?") -> Question:
    return Question(
        prompt=prompt_for("keyframe"), text=text, times=(1.0, 2.0), jpegs=(b"one", b"two")
    )


def completion(text: str, **changed: object) -> dict[str, Any]:
    """What a server answers."""
    usage = {
        "prompt_tokens": 1000,
        "completion_tokens": 50,
        "total_tokens": 1050,
        "prompt_tokens_details": {"cached_tokens": 800},
    }
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": "stop",
    }
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": "tiny",
        "choices": [choice | changed],
        "usage": usage,
    }


@dataclass
class Speaker:
    """A server on the loopback that answers by a script, and remembers what it was asked."""

    script: Callable[[int, dict[str, Any]], tuple[int, Any, dict[str, str]]]
    models: tuple[str, ...] = ("tiny",)
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    most: int = 0
    now: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""


@pytest.fixture
def serve() -> Iterator[Callable[..., Speaker]]:
    pytest.importorskip("openai")
    servers: list[ThreadingHTTPServer] = []

    def start(script: Callable[..., Any], **more: Any) -> Speaker:  # noqa: ANN401
        speaker = Speaker(script, **more)
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(speaker))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        speaker.url = f"http://127.0.0.1:{server.server_port}/v1"
        return speaker

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def _handler(speaker: Speaker) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            models = [{"id": i, "object": "model", "created": 0} for i in speaker.models]
            self.answer(200, {"object": "list", "data": models}, {})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with speaker.lock:
                speaker.asked.append(body)
                speaker.keys.append(self.headers["Authorization"])
                count = len(speaker.asked)
                speaker.now += 1
                speaker.most = max(speaker.most, speaker.now)
            try:
                status, answer, headers = speaker.script(count, body)
            finally:
                with speaker.lock:
                    speaker.now -= 1
            if status:
                self.answer(status, answer, headers)
            else:  # hang up without a word
                self.close_connection = True

        def answer(self, status: int, answer: Any, headers: dict[str, str]) -> None:  # noqa: ANN401
            content = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            del format, args

    return Handler


def actor(speaker: Speaker, **parameters: Any) -> OpenAIServer:  # noqa: ANN401
    made = OpenAIServer(base_url=speaker.url, **parameters)
    made.setup()
    return made


def fine(count: int, body: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
    del count, body
    return 200, completion("{}"), {}


def test_pictures_stand_before_the_words_and_the_schema_goes_along(
    serve: Callable[..., Speaker],
) -> None:
    speaker = serve(fine)
    actor(speaker).ask([question()])
    (body,) = speaker.asked
    system, user = body["messages"]
    assert system["role"] == "system"
    first, second, words = user["content"]
    assert first == {"type": "image_url", "image_url": {"url": data_url(b"one")}}
    assert base64.b64decode(second["image_url"]["url"].split(",")[1]) == b"two"
    assert words == {"type": "text", "text": "What?"}
    assert body["temperature"] == 0
    assert body["model"] == "tiny"
    schema = body["response_format"]["json_schema"]
    assert schema == {"name": "keyframe", "schema": prompt_for("keyframe").schema}


def test_sglang_is_told_that_the_pictures_are_a_video(serve: Callable[..., Speaker]) -> None:
    speaker = serve(fine)
    actor(speaker, modalities="video").ask([question()])
    content = speaker.asked[0]["messages"][1]["content"]
    assert [part.get("modalities") for part in content] == ["video", "video", None]


def test_a_server_that_cannot_follow_a_schema_is_not_told_one(
    serve: Callable[..., Speaker],
) -> None:
    speaker = serve(fine)
    actor(speaker, structured=False, extra={"min_p": 0.1}).ask([question()])
    assert "response_format" not in speaker.asked[0]
    assert speaker.asked[0]["min_p"] == 0.1


def test_the_reply_carries_tokens_price_and_request(serve: Callable[..., Speaker]) -> None:
    (reply,) = actor(serve(fine), dollars_per_mtok=(2.0, 10.0)).ask([question()])
    assert reply == Reply(
        text="{}",
        model="tiny",
        input_tokens=1000,
        output_tokens=50,
        cached_tokens=800,
        dollars=0.0025,
        request_id="chatcmpl-1",
    )


def test_an_unknown_price_is_unknown(serve: Callable[..., Speaker]) -> None:
    (reply,) = actor(serve(fine), dollars_per_mtok=None).ask([question()])
    assert isinstance(reply, Reply)
    assert reply.dollars is None


def test_an_answer_that_was_cut_off_says_so(serve: Callable[..., Speaker]) -> None:
    speaker = serve(lambda *_: (200, completion('{"', finish_reason="length"), {}))
    (reply,) = actor(speaker).ask([question()])
    assert isinstance(reply, Reply)
    assert reply.cut


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_or_broken_server_is_asked_again(serve: Callable[..., Speaker], status: int) -> None:
    def script(count: int, body: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        if count < 3:
            return status, {"error": {"message": "later"}}, {"retry-after-ms": "10"}
        return fine(count, body)

    speaker = serve(script)
    (reply,) = actor(speaker).ask([question()])
    assert isinstance(reply, Reply)
    assert len(speaker.asked) == 3


def test_a_cut_connection_is_made_again(serve: Callable[..., Speaker]) -> None:
    speaker = serve(lambda count, body: (0, None, {}) if count == 1 else fine(count, body))
    (reply,) = actor(speaker).ask([question()])
    assert isinstance(reply, Reply)
    assert len(speaker.asked) == 2


def test_after_the_last_retry_the_error_is_the_question_s_own(
    serve: Callable[..., Speaker],
) -> None:
    def script(count: int, body: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        if "bad" in json.dumps(body["messages"][1]):
            return 500, {"error": {"message": "out of luck"}}, {"retry-after-ms": "10"}
        return fine(count, body)

    speaker = serve(script)
    good, bad = actor(speaker, retries=2).ask([question("good"), question("bad")])
    assert isinstance(good, Reply)
    assert isinstance(bad, RuntimeError)
    assert "out of luck" in str(bad)
    assert speaker.url in str(bad)
    assert len(speaker.asked) == 1 + 3


def test_a_question_that_the_server_refuses_is_not_asked_again(
    serve: Callable[..., Speaker],
) -> None:
    speaker = serve(lambda *_: (400, {"error": {"message": "too many tokens"}}, {}))
    (reply,) = actor(speaker).ask([question()])
    assert "too many tokens" in str(reply)
    assert len(speaker.asked) == 1


def test_a_slow_server_is_given_up(serve: Callable[..., Speaker]) -> None:
    def script(count: int, body: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        time.sleep(2)
        return fine(count, body)

    began = time.monotonic()
    (reply,) = actor(serve(script), timeout_s=0.2, retries=0).ask([question()])
    assert time.monotonic() - began < 1.5
    assert "timed out" in str(reply).lower()


def test_a_refusal_is_an_error(serve: Callable[..., Speaker]) -> None:
    message = {"role": "assistant", "content": None, "refusal": "I would rather not."}
    speaker = serve(lambda *_: (200, completion("", message=message), {}))
    (reply,) = actor(speaker).ask([question()])
    assert isinstance(reply, RuntimeError)
    assert "I would rather not." in str(reply)


def test_no_more_questions_are_under_way_than_allowed(serve: Callable[..., Speaker]) -> None:
    def script(count: int, body: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        time.sleep(0.05)
        return fine(count, body)

    speaker = serve(script)
    actor(speaker, concurrency=3).ask([question(str(i)) for i in range(12)])
    assert speaker.most == 3


def test_the_key_comes_from_the_environment(
    serve: Callable[..., Speaker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", "hush")
    speaker = serve(fine)
    made = actor(speaker, api_key_env="A_KEY")
    assert made.missing() is None
    made.ask([question()])
    assert speaker.keys == ["Bearer hush"]
    assert "hush" not in json.dumps(made.identity(), default=str)
    monkeypatch.delenv("A_KEY")
    assert "A_KEY" in (made.missing() or "")


def test_a_server_that_is_not_there_is_found_out_before_any_row() -> None:
    pytest.importorskip("openai")
    made = OpenAIServer(base_url=LOOPBACK, retries=0)
    with pytest.raises(
        RuntimeError, match=rf"the server at {LOOPBACK} does not say what it serves"
    ):
        made.setup()


@pytest.mark.parametrize("models", [(), ("a", "b")])
def test_the_model_must_be_one_that_is_served(
    serve: Callable[..., Speaker], models: tuple[str, ...]
) -> None:
    with pytest.raises(RuntimeError, match="`served` must be one of the models of"):
        actor(serve(fine, models=models))


def test_where_it_was_asked_stands_in_the_provenance() -> None:
    made = OpenAIServer(base_url=LOOPBACK, served="tiny", licence="MIT")
    assert made.provenance() == {"model": "tiny", "revision": LOOPBACK, "licence": "MIT"}


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ({"base_url": "127.0.0.1:8000"}, "`base_url` must begin with http"),
        ({"modalities": "film"}, "`modalities` must be one of image, multi-images, video"),
        ({"concurrency": 0}, "`concurrency` must be at least 1, but is 0"),
        ({"retries": -1}, "`retries` must not be negative, but is -1"),
        ({"timeout_s": 0.0}, "`timeout_s` must be greater than 0, but is 0"),
    ],
)
def test_parameters_are_checked(parameters: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        OpenAIServer(**{"base_url": LOOPBACK, **parameters})
