"""A service to try the bot with: it answers each question with its words in reverse, on port 8000."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer

PORT = 8000
MOST_BYTES = 65536


class Service(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        length = min(int(self.headers.get("content-length", 0)), MOST_BYTES)
        question = json.loads(self.rfile.read(length))["question"]
        body = json.dumps({"answer": " ".join(reversed(question.split()))}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


HTTPServer(("127.0.0.1", PORT), Service).serve_forever()
