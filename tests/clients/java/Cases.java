import io.socket.client.AckWithTimeout;
import io.socket.client.IO;
import io.socket.client.Manager;
import io.socket.client.Socket;
import java.net.URI;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import org.json.JSONArray;
import org.json.JSONObject;

/** `java Cases --list` prints the names of the cases, `java Cases NAME` runs one. A line `do …` asks the test for an action. */
public final class Cases {
    static final String ROOM = System.getenv("PARLANCE_ROOM");
    private static final String AUTHENTICATION_ERROR = "Authentication error";
    private static final String TENANT = "/acme";
    /** Just below the server's limit for an event. */
    private static final int LARGE = 50 * 1024;
    /** Longer than the server's ping interval and timeout together. */
    private static final long LONGER_THAN_A_PING_MS = 7000;
    private static final String[] TEXTS = {
        "plain", "", "てすと", "Я Б Г Д Ж Й", "Ä ä Ü ü ß", "👋🏽 emoji 👩‍👩‍👧", "a/b </script> \\ \" ' \t\n\r", "\u0001\u007f\u2028\u2029",
        "{\"_placeholder\":true,\"num\":0}", "مرحبا", "null",
    };
    private static final String[] NAMES = {"a/b", "</a>", "grüße", "消息", "👋", "say \"hi\"", "back\\slash", "new\nline", " space "};
    private static final byte[] BYTES = {0, 1, 2, (byte) 255, (byte) 254, 'a'};

    interface Case {
        void run() throws Exception;
    }

    private static final Map<String, Case> CASES = new LinkedHashMap<>();

    public static void main(String[] arguments) throws Exception {
        connecting();
        chatting();
        payloads();
        acknowledgements();
        endings();
        if (arguments[0].equals("--list")) {
            CASES.keySet().forEach(System.out::println);
            return;
        }
        int status = 1;
        try {
            CASES.get(arguments[0]).run();
            System.out.println("done");
            status = 0;
        } catch (Throwable failure) {
            failure.printStackTrace();
        }
        // The library's threads would keep the process alive.
        System.exit(status);
    }

    static void check(boolean condition, Object found) {
        if (condition) return;
        throw new AssertionError("found " + (found instanceof Object[] many ? Arrays.deepToString(many) : found));
    }

    static void equal(Object found, Object wanted) {
        check(wanted.equals(found), found + " instead of " + wanted);
    }

    private static void connecting() {
        CASES.put("connects over WebSocket alone", () -> {
            User ann = User.connect("ann", "websocket");
            equal(ann.transport(), "websocket");
            check(ann.socket.id() != null && ann.socket.connected(), ann.socket.id());
        });
        CASES.put("connects over polling and upgrades to WebSocket", () -> {
            User ann = User.connect("ann");
            for (int i = 0; i < 200 && !ann.transport().equals("websocket"); i++) Thread.sleep(50);
            equal(ann.transport(), "websocket");
            equal(ann.must("join-room", ROOM).getInt("lastSeq"), 0);
        });
        CASES.put("chats over polling alone", () -> {
            User ann = User.connect("ann", "polling");
            ann.must("join-room", ROOM);
            ann.post("over polling");
            ann.hears("new-message", message -> message.optString("content").equals("over polling"));
            equal(ann.transport(), "polling");
        });
        CASES.put("is told why a wrong token is refused", () -> {
            for (String transport : new String[] {"websocket", "polling"}) {
                User stranger = new User(IO.socket(URI.create(User.URL), User.options("garbage", transport)));
                String why = stranger.refused();
                check(why.startsWith(AUTHENTICATION_ERROR), why);
                check(!stranger.socket.connected(), "connected");
            }
        });
        CASES.put("is told why no token is refused", () -> {
            String why = new User(IO.socket(URI.create(User.URL), User.options(""))).refused();
            check(why.startsWith(AUTHENTICATION_ERROR), why);
        });
        CASES.put("sends a query that the handler sees", () -> {
            IO.Options options = User.options(User.tokenOf("ann"));
            options.query = "key1=value1&key2=%26%3D%20%F0%9F%91%8B";
            User ann = new User(IO.socket(URI.create(User.URL), options)).open();
            JSONObject query = ((JSONObject) ann.ask("getHandshake")[0]).getJSONObject("query");
            equal(query.getString("key1"), "value1");
            equal(query.getString("key2"), "&= 👋");
        });
        CASES.put("its id is the one that the server has", () -> {
            Manager manager = new Manager(URI.create(User.URL), User.options(""));
            User ann = new User(manager.socket("/", User.options(User.tokenOf("ann")))).open();
            User member = new User(manager.socket(TENANT, User.options(User.tokenOf("acme")))).open();
            for (User user : new User[] {ann, member}) equal(user.ask("getId")[0], user.socket.id());
        });
        CASES.put("its ids in two namespaces differ", () -> {
            Manager manager = new Manager(URI.create(User.URL), User.options(""));
            User ann = new User(manager.socket("/", User.options(User.tokenOf("ann")))).open();
            User member = new User(manager.socket(TENANT, User.options(User.tokenOf("acme")))).open();
            check(!ann.socket.id().equals(member.socket.id()), ann.socket.id());
        });
        CASES.put("connects to a tenant's namespace beside the main one", () -> {
            Manager manager = new Manager(URI.create(User.URL), User.options(""));
            User ann = new User(manager.socket("/", User.options(User.tokenOf("ann")))).open();
            User member = new User(manager.socket(TENANT, User.options(User.tokenOf("acme")))).open();
            ann.must("join-room", ROOM);
            member.must("join-room", ROOM);
            member.post("in the tenant");
            member.hears("new-message", message -> true);
            ann.post("outside");
            equal(ann.event("new-message").arguments()[0] instanceof JSONObject json ? json.getString("content") : null, "outside");
            check(member.events.stream().noneMatch(event -> event.name().equals("new-message")), member.events);
        });
        CASES.put("connects to a tenant's namespace after the main one was closed", () -> {
            Manager manager = new Manager(URI.create(User.URL), User.options(""));
            User ann = new User(manager.socket("/", User.options(User.tokenOf("ann")))).open();
            ann.socket.disconnect();
            User member = new User(manager.socket(TENANT, User.options(User.tokenOf("acme")))).open();
            equal(member.must("join-room", ROOM).getInt("lastSeq"), 0);
        });
        CASES.put("a refusal in one namespace leaves the other one connected", () -> {
            Manager manager = new Manager(URI.create(User.URL), User.options(""));
            User ann = new User(manager.socket("/", User.options(User.tokenOf("ann")))).open();
            // The token of the main namespace, and a namespace that there is not.
            for (String namespace : new String[] {TENANT, "/nowhere"}) {
                User stranger = new User(manager.socket(namespace, User.options(User.tokenOf("ann"))));
                String why = stranger.refused();
                check(!why.isEmpty(), why);
            }
            ann.must("join-room", ROOM);
            check(ann.disconnects.isEmpty(), ann.disconnects);
        });
        CASES.put("stays connected for longer than a ping's timeout", () -> {
            User ann = User.connect("ann", "websocket");
            User bob = User.connect("bob", "polling");
            Thread.sleep(LONGER_THAN_A_PING_MS);
            for (User user : new User[] {ann, bob}) {
                user.must("join-room", ROOM);
                check(user.disconnects.isEmpty(), user.disconnects);
            }
        });
    }

    private static void chatting() {
        CASES.put("joins a room and is acknowledged", () -> {
            JSONObject joined = User.connect("ann").must("join-room", ROOM, new JSONObject().put("last", 10));
            equal(joined.getInt("lastSeq"), 0);
            equal(joined.getBoolean("complete"), true);
            equal(joined.getJSONArray("messages").length(), 0);
            equal(joined.getJSONObject("data").getInt("memberCount"), 1);
        });
        CASES.put("sends a message, which both users receive", () -> {
            User ann = User.connect("ann"), bob = User.connect("bob", "polling");
            ann.must("join-room", ROOM);
            bob.must("join-room", ROOM);
            ann.hears("user-joined", event -> event.optString("username").equals("bob"));
            JSONObject posted = ann.post("hello");
            equal(posted.getInt("seq"), 1);
            for (User user : new User[] {ann, bob}) {
                JSONObject message = user.hears("new-message", each -> true);
                equal(message.getString("id"), posted.getString("id"));
                equal(message.getString("content"), "hello");
                equal(message.getString("username"), "ann");
            }
        });
        CASES.put("texts of many scripts come back as they were sent", () -> {
            for (String transport : new String[] {"websocket", "polling"}) {
                User ann = User.connect("ann", transport);
                ann.must("join-room", ROOM);
                for (String text : TEXTS) equal(ann.ask("echo", text)[0], text);
                for (String text : TEXTS) {
                    if (text.isEmpty()) continue;
                    ann.post(text);
                    equal(ann.hears("new-message", each -> true).getString("content"), text);
                }
            }
        });
        CASES.put("event names with escapes reach the handler", () -> {
            User ann = User.enter("names", "/names");
            for (String name : NAMES) equal(ann.ask(name, 1)[0], name);
            for (String name : NAMES) {
                ann.socket.emit(name, 1);
                equal(ann.ask("several", 1)[0], "one");
            }
        });
        CASES.put("event names with escapes reach the client", () -> {
            User ann = User.connect("ann");
            ann.must("join-room", ROOM);
            for (String name : NAMES) {
                System.out.println("do emit " + new JSONArray(Collections.singletonList(name)));
                equal(ann.event(name).arguments()[0], name);
            }
        });
        CASES.put("a large message goes there and back over polling", () -> {
            User ann = User.connect("ann", "polling");
            ann.must("join-room", ROOM);
            String large = "é".repeat(LARGE / 2);
            ann.post(large);
            equal(ann.hears("new-message", each -> true).getString("content"), large);
            byte[] bytes = new byte[LARGE];
            for (int i = 0; i < LARGE; i++) bytes[i] = (byte) i;
            check(Arrays.equals((byte[]) ann.ask("echo", bytes)[0], bytes), "other bytes");
        });
        CASES.put("messages that are emitted in a row stay in order", () -> {
            for (String transport : new String[] {"websocket", "polling"}) {
                User ann = User.connect("ann", transport);
                ann.must("join-room", ROOM);
                for (int i = 0; i < 50; i++) ann.socket.emit("send-message", User.draft("message " + i));
                for (int i = 0; i < 50; i++) equal(ann.hears("new-message", each -> true).getString("content"), "message " + i);
                ann.socket.disconnect();
            }
        });
        CASES.put("a refused event without acknowledgement arrives as error-event", () -> {
            User ann = User.connect("ann");
            ann.socket.emit("send-message", new JSONObject().put("roomId", ROOM));
            JSONObject error = ann.hears("error-event", each -> true);
            equal(error.getString("event"), "send-message");
            equal(error.getString("code"), "invalid");
        });
        CASES.put("a refused event with acknowledgement is acknowledged with the error", () -> {
            User ann = User.connect("ann");
            JSONObject answer = (JSONObject) ann.ask("send-message", User.draft("not joined"))[0];
            equal(answer.getBoolean("ok"), false);
            check(answer.getJSONObject("error").getString("message").startsWith("not joined yet"), answer);
        });
        CASES.put("what is emitted before the connect is sent after it", () -> {
            User ann = new User(IO.socket(URI.create(User.URL), User.options(User.tokenOf("ann"))));
            BlockingQueue<Object[]> answers = new LinkedBlockingQueue<>();
            for (String text : new String[] {"first", "second"}) ann.socket.emit("echo", new Object[] {text}, answers::add);
            ann.open();
            for (String text : new String[] {"first", "second"}) equal(User.next(answers, text)[0], text);
        });
    }

    private static void payloads() {
        CASES.put("bytes go there and back", () -> {
            for (String transport : new String[] {"websocket", "polling"}) {
                User ann = User.connect("ann", transport);
                ann.socket.emit("message", BYTES);
                Object back = ann.event("message-back").arguments()[0];
                check(Arrays.equals((byte[]) back, BYTES), back);
            }
        });
        CASES.put("bytes within JSON go there and back", () -> {
            User ann = User.connect("ann");
            JSONObject mixed = new JSONObject().put("name", "a/b").put("inner", new JSONObject().put("bytes", BYTES));
            ann.socket.emit("message", mixed, new byte[0], "text");
            Object[] back = ann.event("message-back").arguments();
            equal(back.length, 3);
            JSONObject first = (JSONObject) back[0];
            equal(first.getString("name"), "a/b");
            check(Arrays.equals((byte[]) first.getJSONObject("inner").get("bytes"), BYTES), first);
            equal(((byte[]) back[1]).length, 0);
            equal(back[2], "text");
        });
        CASES.put("events with and without bytes stay in order", () -> {
            User ann = User.connect("ann");
            for (int i = 0; i < 20; i++) ann.socket.emit("message", i % 2 == 0 ? new byte[] {(byte) i} : (Object) i);
            for (int i = 0; i < 20; i++) {
                Object back = ann.event("message-back").arguments()[0];
                if (back instanceof byte[] bytes) equal((int) bytes[0], i);
                else equal(back, i);
                equal(back instanceof byte[], i % 2 == 0);
            }
        });
        CASES.put("false, null and numbers go there and back", () -> {
            User ann = User.connect("ann");
            Object[] sent = {false, null, 0, -1.5, 1L << 40, new JSONObject(), new JSONArray(), "bar"};
            ann.socket.emit("message", sent);
            Object[] back = ann.event("message-back").arguments();
            equal(back.length, sent.length);
            for (int i = 0; i < sent.length; i++) equal(String.valueOf(back[i]), String.valueOf(sent[i]));
        });
    }

    private static void acknowledgements() {
        CASES.put("an acknowledgement has several arguments", () -> {
            Object[] answer = User.connect("ann").ask("echo", 1, "2", new JSONObject().put("three", 3), false);
            equal(answer.length, 4);
            equal(answer[0], 1);
            equal(answer[1], "2");
            equal(((JSONObject) answer[2]).getInt("three"), 3);
            equal(answer[3], false);
        });
        CASES.put("an acknowledgement has no arguments", () -> equal(User.connect("ann").ask("echo").length, 0));
        CASES.put("an acknowledgement has bytes", () -> {
            for (String transport : new String[] {"websocket", "polling"}) {
                Object[] answer = User.connect("ann", transport).ask("echo", 1, "2", BYTES);
                equal(answer.length, 3);
                check(Arrays.equals((byte[]) answer[2], BYTES), answer);
            }
        });
        CASES.put("an acknowledgement that does not come runs into the timeout", () -> {
            User ann = User.connect("ann");
            BlockingQueue<String> ends = new LinkedBlockingQueue<>();
            // The handler does not acknowledge `hi`, and acknowledges `echo`.
            for (String event : List.of("hi", "echo")) {
                ann.socket.emit(event, new AckWithTimeout(event.equals("hi") ? 300 : 20_000) {
                    @Override
                    public void onSuccess(Object... arguments) {
                        ends.add(event + " acknowledged");
                    }

                    @Override
                    public void onTimeout() {
                        ends.add(event + " timed out");
                    }
                });
            }
            List<String> both = new ArrayList<>(List.of(User.next(ends, "an end"), User.next(ends, "an end")));
            Collections.sort(both);
            equal(both, List.of("echo acknowledged", "hi timed out"));
        });
        CASES.put("the server asks, and the client's acknowledgement arrives", () -> {
            User ann = User.connect("ann");
            ann.socket.emit("ack");
            User.Event question = ann.event("ack");
            check(question.ack() != null, "no acknowledgement is wanted");
            question.ack().call(5, new JSONObject().put("test", true));
            ann.event("got it");
        });
        CASES.put("the server asks, and bytes or nothing are acknowledged", () -> {
            User ann = User.enter("names", "/names");
            ann.must("join-room", "listeners");
            Object[][] answers = {{BYTES}, {}};
            for (Object[] answer : answers) {
                equal(ann.ask("ask", "listeners", "tag", 10_000)[0], true);
                User.Event question = ann.event("question");
                equal(question.arguments()[0], "tag");
                question.ack().call(answer);
                JSONArray told = (JSONArray) ann.event("answered").arguments()[2];
                equal(told.length(), answer.length);
                check(answer.length == 0 || Arrays.equals((byte[]) told.get(0), BYTES), told);
            }
        });
    }

    private static void endings() {
        CASES.put("disconnects, and others are told", () -> {
            User ann = User.connect("ann"), bob = User.connect("bob");
            ann.must("join-room", ROOM);
            bob.must("join-room", ROOM);
            bob.socket.disconnect();
            equal(User.next(bob.disconnects, "the disconnect"), "io client disconnect");
            check(bob.socket.id() == null, bob.socket.id());
            ann.hears("presence", each -> each.optString("username").equals("bob") && each.optString("status").equals("offline"));
        });
        CASES.put("connects again with a new id after its own disconnect", () -> {
            User ann = User.connect("ann");
            String before = ann.socket.id();
            ann.socket.disconnect();
            User.next(ann.disconnects, "the disconnect");
            ann.open();
            check(!ann.socket.id().equals(before), before);
            ann.must("join-room", ROOM);
        });
        CASES.put("is disconnected by an operator", () -> {
            for (String transport : new String[] {"websocket", "polling"}) {
                User bob = User.connect("bob", transport);
                System.out.println("do disconnect bob");
                equal(User.next(bob.disconnects, "the disconnect"), "io server disconnect");
                check(!bob.socket.connected(), "connected");
            }
        });
        CASES.put("is told of a revoked token and disconnected", () -> {
            User carol = User.connect("carol");
            System.out.println("do revoke carol");
            equal(carol.hears("error-event", each -> true).getString("message"), "the token has been revoked");
            equal(User.next(carol.disconnects, "the disconnect"), "io server disconnect");
            String why = carol.refused();
            check(why.startsWith(AUTHENTICATION_ERROR), why);
        });
        CASES.put("connects again after its connection broke", () -> {
            User ann = User.connect("ann");
            ann.engine().close();
            User.next(ann.connects, "the second connect");
            ann.must("join-room", ROOM);
            // Also after it was disconnected and connected again by hand.
            ann.socket.disconnect();
            ann.open();
            ann.engine().close();
            User.next(ann.connects, "the fourth connect");
            ann.must("join-room", ROOM);
        });
        for (String action : new String[] {"kill", "stop"}) {
            String how = action.equals("kill") ? "was killed and started again" : "stopped in order and started again";
            CASES.put("connects again after the server " + how, () -> again(action));
        }
    }

    /** Both transports lose the server and find it again. */
    private static void again(String action) throws Exception {
        User[] users = {User.connect("ann", "websocket"), User.connect("bob", "polling")};
        for (User user : users) user.must("join-room", ROOM);
        users[0].post("before");
        System.out.println("do " + action);
        for (User user : users) {
            User.next(user.disconnects, "the disconnect");
            User.next(user.connects, "the second connect");
            JSONObject joined = user.must("join-room", ROOM, new JSONObject().put("after", 0));
            equal(joined.getJSONArray("messages").getJSONObject(0).getString("content"), "before");
        }
        users[1].post("after");
        users[0].hears("new-message", each -> each.optString("content").equals("after"));
    }
}
