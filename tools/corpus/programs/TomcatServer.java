import java.io.IOException;
import java.nio.file.Files;
import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import org.apache.catalina.Context;
import org.apache.catalina.connector.Connector;
import org.apache.catalina.startup.Tomcat;

/** Tomcat with a keep-alive timeout of one second: TomcatServer ADDRESS PORT. */
public class TomcatServer {
    public static void main(String[] arguments) throws Exception {
        Tomcat tomcat = new Tomcat();
        String base = Files.createTempDirectory("tomcat").toString();
        tomcat.setBaseDir(base);
        Connector connector = new Connector();
        connector.setPort(Integer.parseInt(arguments[1]));
        connector.setProperty("address", arguments[0]);
        connector.setProperty("keepAliveTimeout", arguments[2]); if(arguments.length>3) connector.setProperty("maxSwallowSize",arguments[3]);
        tomcat.setConnector(connector);
        Context context = tomcat.addContext("", base);
        Tomcat.addServlet(context, "hello", new HttpServlet() {
            @Override
            protected void service(HttpServletRequest request, HttpServletResponse response) throws IOException {
                if(!request.getRequestURI().startsWith("/413"))request.getInputStream().readAllBytes(); else {response.setStatus(413);}
                response.setContentType("text/plain");
                response.getWriter().println("hello from tomcat");
            }
        });
        context.addServletMappingDecoded("/", "hello");
        tomcat.start();
        tomcat.getServer().await();
    }
}
