//! Tomcat.

use crate::hold::{Known, Limit, hold};
use crate::kernel::Left;
use crate::server::Server;

/// Tomcat 10 of Debian in a folder of its own, with attributes for its connector.
pub fn tomcat(attributes: &str) -> Server {
    let conf = r#"<Server port="-1">
  <Service name="Catalina">
    <Connector address="{host}" port="{port}" protocol="HTTP/1.1" ATTRIBUTES/>
    <Engine name="Catalina" defaultHost="localhost">
      <Host name="localhost" appBase="{dir}/webapps"/>
    </Engine>
  </Service>
</Server>
"#;
    let web = r#"<web-app xmlns="https://jakarta.ee/xml/ns/jakartaee" version="6.0">
  <servlet>
    <servlet-name>files</servlet-name>
    <servlet-class>org.apache.catalina.servlets.DefaultServlet</servlet-class>
  </servlet>
  <servlet-mapping>
    <servlet-name>files</servlet-name>
    <url-pattern>/</url-pattern>
  </servlet-mapping>
  <welcome-file-list>
    <welcome-file>index.html</welcome-file>
  </welcome-file-list>
</web-app>
"#;
    Server::new()
        .file("conf/server.xml", &conf.replace("ATTRIBUTES", attributes))
        .file("webapps/ROOT/index.html", "hello from Tomcat\n")
        .file("webapps/ROOT/WEB-INF/web.xml", web)
        .file("temp/none", "")
        .start(
            "java -XX:TieredStopAtLevel=1 -cp /usr/share/tomcat10/bin/bootstrap.jar:/usr/share/tomcat10/bin/tomcat-juli.jar \
             -Dcatalina.home=/usr/share/tomcat10 -Dcatalina.base={dir} -Djava.io.tmpdir={dir}/temp \
             org.apache.catalina.startup.Bootstrap start",
        )
}

#[test]
#[ignore = "needs long, root, tomcat10"]
fn tomcat_is_as_configured() {
    let server = tomcat(r#"keepAliveTimeout="2000" connectionTimeout="1000""#);
    hold(
        &server,
        &Known {
            name: "Tomcat",
            kept: "kept",
            ends_by: Some("fin"),
            promised: None,
            promised_if_asked: Some(2),
            serial: false,
            limits: &[
                (Left::AfterOne, Limit::Ticks(2000, 1100)),
                (Left::AfterSeveral, Limit::Ticks(2000, 1100)),
                (Left::Unused, Limit::Ticks(1000, 1100)),
                (Left::InHead, Limit::Ticks(1000, 1100)),
                (Left::InBody, Limit::AtOnce),
            ],
            faults: &[],
            by_chance: &[],
        },
    );
}
