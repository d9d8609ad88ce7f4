import java.net.*;
import java.net.http.*;
import java.time.*;
import java.util.*;
public class JClient {
    public static void main(String[] a) throws Exception { // URL method waits
        List<Thread> L = new ArrayList<>();
        for (String w : a[2].split(",")) {
            Thread t = new Thread(() -> {
                HttpClient c = HttpClient.newBuilder()
                                   .version(HttpClient.Version.HTTP_1_1)
                                   .connectTimeout(Duration.ofSeconds(8))
                                   .build();
                for (int i = 0; i < 2; i++) {
                    double t0 = System.currentTimeMillis() / 1000.0;
                    try {
                        if (i == 1)
                            Thread.sleep((long)(Double.parseDouble(w) * 1000));
                        HttpRequest.Builder b =
                            HttpRequest.newBuilder(URI.create(a[0]))
                                .timeout(Duration.ofSeconds(a.length > 3 ? Integer.parseInt(a[3]) : 8));
                        if (i == 1 && a[1].equals("POST"))
                            b.POST(HttpRequest.BodyPublishers.ofString("x".repeat(64)));
                        HttpResponse<String> r = c.send(b.build(), HttpResponse.BodyHandlers.ofString());
                        System.out.println("{\"port\":0,\"t\":" + t0 + ",\"client\":\"java\",\"status\":" +
                                           r.statusCode() + ",\"bytes\":" + r.body().length() +
                                           ",\"error\":null,\"ok\":true,\"wait\":" + w + "}");
                    } catch (Exception e) {
                        System.out.println("{\"port\":0,\"t\":" + t0 +
                                           ",\"client\":\"java\",\"status\":0,\"bytes\":0,\"error\":\"" +
                                           e.getClass().getSimpleName() + ": " +
                                           String.valueOf(e.getMessage()).replace('"', '\'') +
                                           "\",\"ok\":false,\"wait\":" + w + "}");
                    }
                }
            });
            t.start();
            L.add(t);
            Thread.sleep(5);
        }
        for (Thread t : L)
            t.join();
        System.exit(0);
    }
}
