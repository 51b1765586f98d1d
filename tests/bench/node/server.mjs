// The usual Node chat server: socket.io, jsonwebtoken, messages in memory or in SQLite. It handles Parlance's client
// events as such a server is commonly written, with every library at its defaults, so that `make bench` compares with
// what people would otherwise run.
//
// Environment: JWT_SECRET (required, HS256), PORT (default 3000; 0 lets the system choose), SQLITE_FILE (absent:
// messages in memory), REDIS_URL (absent: a single node).

import { createServer } from "node:http";
import jwt from "jsonwebtoken";
import { Server } from "socket.io";

const { JWT_SECRET, PORT = "3000", REDIS_URL, SQLITE_FILE } = process.env;
if (!JWT_SECRET) {
  console.error("JWT_SECRET is not set");
  process.exit(1);
}

const MAX_CONTENT = 16 * 1024;
const PAGE = 50;

const { open } = await import(SQLITE_FILE ? "./sqlite.mjs" : "./memory.mjs");
const store = open(SQLITE_FILE);

const http = createServer((request, response) => {
  response.statusCode = request.url === "/readyz" ? 200 : 404;
  response.end();
});
const io = new Server(http);

if (REDIS_URL) {
  const [{ createAdapter }, { createClient }] = await Promise.all([import("@socket.io/redis-adapter"), import("redis")]);
  const [publisher, subscriber] = [createClient({ url: REDIS_URL }), createClient({ url: REDIS_URL })];
  await Promise.all([publisher.connect(), subscriber.connect()]);
  io.adapter(createAdapter(publisher, subscriber));
}

io.use((socket, next) => {
  try {
    const claims = jwt.verify(socket.handshake.auth.token, JWT_SECRET, { algorithms: ["HS256"] });
    socket.data.user = { id: claims.sub ?? claims.id, name: claims.name ?? claims.username };
    next();
  } catch (error) {
    next(new Error(`Authentication error: ${error.message}`));
  }
});

io.on("connection", (socket) => {
  const { user } = socket.data;

  const refuse = (event, ack, code, message) => {
    const error = { code, message, retryable: false };
    if (ack) ack({ ok: false, error });
    else socket.emit("error-event", { event, ...error });
  };

  /** Registers a handler. Its last argument is the acknowledgement, if the client asked for one. */
  const on = (event, handle) =>
    socket.on(event, (...args) => {
      const ack = typeof args.at(-1) === "function" ? args.pop() : undefined;
      handle(args, ack, (code, message) => refuse(event, ack, code, message));
    });

  on("join-room", ([roomId, { after = 0, last = PAGE } = {}], ack, fail) => {
    if (typeof roomId !== "string" || !roomId) return fail("invalid", "roomId is missing");
    socket.join(roomId);
    const lastSeq = store.lastSeq(roomId);
    const messages = store.page(roomId, after, Infinity, Math.min(last, PAGE));
    ack?.({ ok: true, lastSeq, messages, complete: messages.length >= lastSeq - after });
  });

  on("leave-room", ([roomId], ack) => {
    socket.leave(roomId);
    ack?.({ ok: true });
  });

  on("send-message", ([body], ack, fail) => {
    const { roomId, content, metadata, clientId } = body ?? {};
    if (typeof content !== "string" || !content) return fail("invalid", "content is missing");
    if (content.length > MAX_CONTENT) return fail("too-large", "content is too long");
    if (!socket.rooms.has(roomId)) return fail("denied", "join the room first");

    store.append({ roomId, userId: user.id, content, metadata, clientId }, (error, message, isNew) => {
      if (error) return fail("unavailable", "the message could not be stored");
      if (isNew) io.to(roomId).emit("new-message", message);
      ack?.({ ok: true, message: { id: message.id, seq: message.seq, sentAt: message.sentAt } });
    });
  });

  on("typing", ([roomId, typing = true], ack, fail) => {
    if (!socket.rooms.has(roomId)) return fail("denied", "join the room first");
    socket.to(roomId).emit("user-typing", { roomId, userId: user.id, username: user.name, typing });
    ack?.({ ok: true });
  });

  on("read-message", ([messageId], ack, fail) => {
    const roomId = store.roomOf(messageId);
    if (!roomId || !socket.rooms.has(roomId)) return fail("not-found", "no such message");
    store.markRead(messageId, user.id, (error, readAt, isNew) => {
      if (error) return fail("unavailable", "the receipt could not be stored");
      if (isNew) io.to(roomId).emit("message-read", { messageId, roomId, userId: user.id, readAt });
      ack?.({ ok: true });
    });
  });

  on("history", ([{ roomId, after = 0, before = Infinity, limit = PAGE } = {}], ack, fail) => {
    if (!socket.rooms.has(roomId)) return fail("denied", "join the room first");
    const messages = store.page(roomId, after, before, Math.min(limit, PAGE));
    ack?.({ ok: true, messages, complete: messages.length === 0 || messages[0].seq === after + 1 });
  });
});

process.on("SIGTERM", () =>
  io.close(() => {
    store.close();
    process.exit(0);
  }),
);

http.listen(Number(PORT), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${http.address().port}`);
});
