import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.util.concurrent.Executors;

/** The JDK's HTTP server: JdkServer ADDRESS PORT. /ignore leaves the body unread. */
public class JdkServer {
    public static void main(String[] arguments) throws Exception {
        HttpServer server = HttpServer.create(new InetSocketAddress(arguments[0], Integer.parseInt(arguments[1])), 50);
        server.createContext("/", exchange -> {
            boolean ignore = exchange.getRequestURI().getPath().equals("/ignore");
            if (!ignore) {
                exchange.getRequestBody().readAllBytes();
            }
            byte[] body = "hello from the jdk\n".repeat(ignore ? 4000 : 1).getBytes();
            exchange.sendResponseHeaders(ignore ? 403 : 200, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.setExecutor(Executors.newCachedThreadPool());
        server.start();
    }
}
