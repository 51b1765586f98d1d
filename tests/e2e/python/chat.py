"""Two users chat through python-socketio; every line fails the test when the answer is not the expected one."""

import os
import queue

import socketio

URL = os.environ["PARLANCE_URL"]
ROOM = os.environ["PARLANCE_ROOM"]
PATIENCE_S = 10


class User:
    """One connection, and a queue of what it received."""

    def __init__(self, token: str) -> None:
        self.inbox: queue.Queue = queue.Queue()
        self.client = socketio.Client(reconnection=False)
        self.refusal = ""
        self.client.on("*", lambda event, *args: self.inbox.put((event, *args)))
        self.client.on("connect_error", self.refused)
        self.token = token

    def refused(self, error: dict) -> None:
        """Keeps what the server says on a refused connect."""
        self.refusal = error["message"]

    def connect(self) -> "User":
        """Connects over the one transport under test."""
        transport = os.environ["PARLANCE_TRANSPORT"]
        self.client.connect(URL, auth={"token": self.token}, transports=[transport], wait_timeout=PATIENCE_S)
        return self

    def ask(self, event: str, *args):
        """Sends and returns the acknowledgement, which has to be ok."""
        answer = self.client.call(event, tuple(args), timeout=PATIENCE_S)
        check(answer["ok"] is True, (event, answer))
        return answer

    def hears(self, event: str, **wanted) -> dict:
        """The next event of that name with these fields; others before it are passed over."""
        while True:
            name, *args = self.inbox.get(timeout=PATIENCE_S)
            if name == event and wanted.items() <= args[0].items():
                return args[0]


def check(condition: bool, what: object) -> None:
    """As `assert`, but not switched off by -O."""
    if not condition:
        raise AssertionError(what)


ann, bob = User(os.environ["ANN_TOKEN"]).connect(), User(os.environ["BOB_TOKEN"]).connect()

joined = ann.ask("join-room", ROOM)
check(joined["lastSeq"] == 0 and joined["complete"] is True, joined)
bob.ask("join-room", ROOM)
ann.hears("presence", userId="bob", status="online")

bob.ask("typing", ROOM, True)
typing = ann.hears("user-typing")
check(typing == {"roomId": ROOM, "userId": "bob", "username": "bob's name", "typing": True}, typing)

draft = {"roomId": ROOM, "content": "grüß dich \N{WAVING HAND SIGN}", "clientId": "one"}
posted = bob.ask("send-message", draft)["message"]
check(bob.ask("send-message", draft)["message"] == posted, "the same client id posts once")
for user in (ann, bob):
    message = user.hears("new-message")
    check(message["id"] == posted["id"] and message["content"] == draft["content"], message)

ann.ask("read-message", posted["id"])
receipt = bob.hears("message-read")
check(receipt["userId"] == "ann" and receipt["roomId"] == ROOM, receipt)

history = ann.ask("history", {"roomId": ROOM})
check([each["id"] for each in history["messages"]] == [posted["id"]], history)

refusal = ann.client.call("of-nobody", ("argument",), timeout=PATIENCE_S)
check(refusal["ok"] is False and refusal["error"]["code"] == "unhandled", refusal)
refusal = ann.client.call("send-message", {"roomId": ROOM, "content": b"bytes"}, timeout=PATIENCE_S)
check(refusal["ok"] is False and refusal["error"]["code"] == "invalid", refusal)

bob.client.disconnect()
ann.hears("presence", userId="bob", status="offline")
ann.client.disconnect()

stranger = User("garbage")
try:
    stranger.connect()
    raise SystemExit("garbage was let in")
except socketio.exceptions.ConnectionError:
    check(stranger.refusal.startswith("Authentication error"), stranger.refusal)

print("done")
