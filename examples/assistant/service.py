"""A service to try the assistant with, on port 8001. It says each question backwards, a word at a time."""

import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = 8001
MOST_BYTES = 65536
SECONDS_A_WORD = 0.3


class Service(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"topics": ["words", "their order"]}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        length = min(int(self.headers.get("content-length", 0)), MOST_BYTES)
        words = json.loads(self.rfile.read(length))["question"].split()
        # A client whose answer broke off says which part came last.
        first = int(self.headers.get("last-event-id", -1)) + 1
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for number, word in list(enumerate(reversed(words)))[first:]:
            self.wfile.write(f"id: {number}\ndata: {json.dumps(word)}\n\n".encode())
            self.wfile.flush()
            time.sleep(SECONDS_A_WORD)


ThreadingHTTPServer(("127.0.0.1", PORT), Service).serve_forever()
