"""A real server with the endpoints of serving/, up in a tenth of a second, that misbehaves when its
artifact's folder says so.

Files beside the artifact's record.json: `fails_to_start`, `never_ready`, `lies` (another digest at
/version), `sick` (every generation fails), `slow_start` (seconds until ready), `slow` (seconds that
a generation takes).
"""

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER = Path(os.environ["MODEL_ID"])
TOKEN_S = 0.02
STARTED = time.monotonic()
in_flight = 0
changed = threading.Condition()


def is_asked_for(name: str) -> bool:
    return (FOLDER / name).exists()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/version":
            digest = "0" * 64 if is_asked_for("lies") else os.environ["MODEL_DIGEST"]
            self.answer(
                200,
                {
                    "release_id": os.environ["RELEASE_ID"],
                    "model_digest": digest,
                    "engine": "quick",
                    "pid": os.getpid(),
                },
            )
            return
        slow = float((FOLDER / "slow_start").read_text()) if is_asked_for("slow_start") else 0.0
        ready = not is_asked_for("never_ready") and time.monotonic() - STARTED >= slow
        self.answer(200 if ready or self.path == "/health" else 503, {"ready": ready})

    def do_POST(self) -> None:
        global in_flight
        with changed:
            in_flight += 1
        try:
            self.generate(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        finally:
            with changed:
                in_flight -= 1
                changed.notify_all()

    def generate(self, request: dict) -> None:
        if is_asked_for("sick"):
            self.answer(500, {"error": {"message": "sick"}})
        elif request.get("stream"):
            self.stream(request["max_length"])
        else:
            time.sleep(float((FOLDER / "slow").read_text()) if is_asked_for("slow") else 0)
            self.answer(
                200,
                {"text": "word " * request["max_length"], "release_id": os.environ["RELEASE_ID"]},
            )

    def stream(self, tokens: int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for _ in range(tokens):
                self.chunk(b'data: {"text": "word ", "tokens": 1}\n\n')
                time.sleep(TOKEN_S)
            usage = {"prompt_tokens": 1, "completion_tokens": tokens}
            self.chunk(
                b"data: %b\n\n"
                % json.dumps(
                    {"text": "", "tokens": 0, "finish_reason": "length", "usage": usage}
                ).encode()
            )
            self.chunk(b"data: [DONE]\n\n")
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            (FOLDER / "client_left").write_text(str(tokens))
            self.close_connection = True

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def answer(self, status: int, body: dict) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None: ...


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


def drain(server: Server) -> None:
    server.shutdown()
    server.server_close()
    with changed:
        changed.wait_for(lambda: in_flight == 0, timeout=30)
    os._exit(0)


def main() -> None:
    if is_asked_for("fails_to_start"):
        sys.exit("the weights are of another shape")
    server = Server((os.environ["HOST"], int(os.environ["PORT"])), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=drain, args=(server,)).start())
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    ).start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
