import com.sun.net.httpserver.*;
import java.io.*;
import java.net.*;
import java.util.concurrent.*;
public class JServer {
    public static void main(String[] a) throws Exception {
        if (a.length > 2 && a[2].equals("raw")) {
            ServerSocket ss = new ServerSocket();
            ss.setReuseAddress(true);
            ss.bind(new InetSocketAddress(a[0], Integer.parseInt(a[1])), 50);
            while (true) {
                Socket s = ss.accept();
                new Thread(() -> {
                    try {
                        InputStream in = s.getInputStream();
                        OutputStream o = s.getOutputStream();
                        byte[] b = new byte[65536];
                        int n = in.read(b);
                        String q = new String(b, 0, n);
                        String p = q.split(" ")[1];
                        String[] x = p.split("/");
                        int part = x.length > 2 ? Integer.parseInt(x[2]) : 0;
                        int tot = x.length > 3 ? Integer.parseInt(x[3]) : 50000;
                        if (x.length > 1 && x[1].equals("linger")) {
                            if (part > 0) {
                                o.write(("HTTP/1.1 200 OK\r\nContent-Length: " + tot + "\r\n\r\n"
                                         + "j".repeat(part))
                                            .getBytes());
                                o.flush();
                            }
                            Thread.sleep(70);
                            s.setSoLinger(true, 0);
                            s.close();
                        } else if (x.length > 1 && x[1].equals("unread")) {
                            o.write(("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n")
                                        .getBytes());
                            Thread.sleep(30);
                            s.close();
                        } else {
                            o.write("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"
                                        .getBytes());
                            s.close();
                        }
                    } catch (Exception e) {
                    }
                }).start();
            }
        }
        HttpServer h = HttpServer.create(new InetSocketAddress(a[0], Integer.parseInt(a[1])), 50);
        h.setExecutor(Executors.newFixedThreadPool(8));
        h.createContext("/", e -> {
            String[] p = e.getRequestURI().getPath().split("/");
            String k = p.length > 1 ? p[1] : "";
            if (k.equals("413")) {
                byte[] b = "big\n".getBytes();
                e.sendResponseHeaders(413, b.length);
                e.getResponseBody().write(b);
                e.close();
                return;
            }
            e.getRequestBody().readAllBytes();
            if (k.equals("slow")) {
                try {
                    Thread.sleep((long)(1000 * Double.parseDouble(p[2])));
                } catch (InterruptedException x) {
                }
            }
            int n = k.equals("n") ? Integer.parseInt(p[2]) : 16;
            if (k.equals("chunk")) {
                e.sendResponseHeaders(200, 0);
                for (int i = 0; i < 20; i++) {
                    e.getResponseBody().write("c".repeat(1000).getBytes());
                    e.getResponseBody().flush();
                    try {
                        Thread.sleep(30);
                    } catch (InterruptedException x) {
                    }
                }
                e.close();
                return;
            }
            if (k.equals("204")) {
                e.sendResponseHeaders(204, -1);
                e.close();
                return;
            }
            e.sendResponseHeaders(200, n);
            e.getResponseBody().write("j".repeat(n).getBytes());
            e.close();
        });
        h.start();
    }
}
