import io.socket.client.Ack;
import io.socket.client.IO;
import io.socket.client.Manager;
import io.socket.client.Socket;
import java.lang.reflect.Field;
import java.net.URI;
import java.util.Arrays;
import java.util.Collections;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.Predicate;
import org.json.JSONArray;
import org.json.JSONObject;

/** A socket of the library, with queues of what it received. */
final class User {
    private static final long PATIENCE_SECONDS = Long.parseLong(System.getenv("PARLANCE_PATIENCE"));
    static final String URL = System.getenv("PARLANCE_URL");

    /** An event; `ack` is the function that answers it, or null. */
    record Event(String name, Object[] arguments, Ack ack) {}

    final Socket socket;
    final BlockingQueue<Event> events = new LinkedBlockingQueue<>();
    final BlockingQueue<String> connects = new LinkedBlockingQueue<>();
    final BlockingQueue<String> disconnects = new LinkedBlockingQueue<>();
    final BlockingQueue<String> refusals = new LinkedBlockingQueue<>();

    User(Socket socket) {
        this.socket = socket;
        socket.on(Socket.EVENT_CONNECT, arguments -> connects.add(socket.id()));
        socket.on(Socket.EVENT_DISCONNECT, arguments -> disconnects.add((String) arguments[0]));
        socket.on(Socket.EVENT_CONNECT_ERROR, arguments -> refusals.add(reason(arguments[0])));
        socket.onAnyIncoming(arguments -> {
            int last = arguments.length - 1;
            boolean asks = arguments[last] instanceof Ack;
            Object[] own = Arrays.copyOfRange(arguments, 1, asks ? last : arguments.length);
            events.add(new Event((String) arguments[0], own, asks ? (Ack) arguments[last] : null));
        });
    }

    /** Options with a token and transports; an empty token sends none. */
    static IO.Options options(String token, String... transports) {
        IO.Options options = new IO.Options();
        options.forceNew = true;
        options.reconnectionDelay = 50;
        options.reconnectionDelayMax = 500;
        if (transports.length > 0) options.transports = transports;
        if (!token.isEmpty()) options.auth = Collections.singletonMap("token", token);
        return options;
    }

    /** A connected user of the main namespace, with the token from the environment variable `NAME_TOKEN`. */
    static User connect(String name, String... transports) throws Exception {
        return enter(name, "/", transports);
    }

    /** A connected user of a namespace, with the token from the environment variable `NAME_TOKEN`. */
    static User enter(String name, String namespace, String... transports) throws Exception {
        return new User(IO.socket(URI.create(URL + namespace), options(tokenOf(name), transports))).open();
    }

    static String tokenOf(String name) {
        return System.getenv(name.toUpperCase() + "_TOKEN");
    }

    /** Connects and waits for it. */
    User open() throws Exception {
        socket.connect();
        next(connects, "connect; refusals: " + refusals);
        return this;
    }

    /** The message of a refused connect. */
    String refused() throws Exception {
        socket.connect();
        return next(refusals, "a refusal");
    }

    private static String reason(Object error) {
        return error instanceof JSONObject json ? json.optString("message") : String.valueOf(error);
    }

    /** The next element of a queue. */
    static <T> T next(BlockingQueue<T> queue, String what) throws Exception {
        T element = queue.poll(PATIENCE_SECONDS, TimeUnit.SECONDS);
        if (element == null) throw new AssertionError("waited in vain for " + what);
        return element;
    }

    /** Emits and returns the arguments of the acknowledgement. */
    Object[] ask(String event, Object... arguments) throws Exception {
        BlockingQueue<Object[]> answers = new LinkedBlockingQueue<>();
        Ack ack = answers::add;
        socket.emit(event, arguments, ack);
        return next(answers, "the acknowledgement of " + event);
    }

    /** `ask`; the answer must be one object with `ok`. */
    JSONObject must(String event, Object... arguments) throws Exception {
        Object[] answer = ask(event, arguments);
        Cases.check(answer.length == 1 && answer[0] instanceof JSONObject json && json.optBoolean("ok"), answer);
        return (JSONObject) answer[0];
    }

    JSONObject post(String content) throws Exception {
        return must("send-message", draft(content)).getJSONObject("message");
    }

    static JSONObject draft(String content) throws Exception {
        return new JSONObject().put("roomId", Cases.ROOM).put("content", content);
    }

    /** The next event with this name; others before it are dropped. */
    Event event(String name) throws Exception {
        for (;;) {
            Event event = next(events, "the event " + name);
            if (event.name().equals(name)) return event;
        }
    }

    /** The first argument of the next event with this name that has the property. */
    JSONObject hears(String name, Predicate<JSONObject> property) throws Exception {
        for (;;) {
            JSONObject first = (JSONObject) event(name).arguments()[0];
            if (property.test(first)) return first;
        }
    }

    /** The library's Engine.IO socket, which it does not show to applications. */
    io.socket.engineio.client.Socket engine() throws Exception {
        Field field = Manager.class.getDeclaredField("engine");
        field.setAccessible(true);
        return (io.socket.engineio.client.Socket) field.get(socket.io());
    }

    /** The name of the transport in use. */
    String transport() throws Exception {
        Field field = io.socket.engineio.client.Socket.class.getDeclaredField("transport");
        field.setAccessible(true);
        return ((io.socket.engineio.client.Transport) field.get(engine())).name;
    }

    static JSONArray array(Object... elements) {
        return new JSONArray(Arrays.asList(elements));
    }
}
