//! A request, as it goes onto the wire.

use bypeer_wire::app::{Method, Version};

/// A request. Nothing is added when it is sent, but its body's length where that is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// The request target: path and query.
    pub target: String,
    /// The version it claims.
    pub version: Version,
    /// Header fields in order, without `Content-Length`.
    pub fields: Vec<(String, String)>,
    /// Its body; `None`: no body and no `Content-Length`.
    pub body: Option<Vec<u8>>,
}

impl Request {
    /// Without fields and body.
    pub fn new(method: Method, target: &str) -> Request {
        Request {
            method,
            target: target.to_owned(),
            version: Version::Http11,
            fields: Vec::new(),
            body: None,
        }
    }

    /// With one more field.
    pub fn with(mut self, name: &str, value: &str) -> Request {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a body of so many bytes that hold nothing.
    pub fn with_body(mut self, bytes: usize) -> Request {
        self.body = Some(vec![b'x'; bytes]);
        self
    }

    /// Claims another version.
    pub fn version(mut self, version: Version) -> Request {
        self.version = version;
        self
    }

    /// Its head, the blank line included.
    pub fn head(&self) -> Vec<u8> {
        let version = match self.version {
            Version::Http10 => "1.0",
            Version::Http11 => "1.1",
        };
        let mut head = format!("{} {} HTTP/{version}\r\n", self.method.as_str(), self.target);
        for (name, value) in &self.fields {
            head += &format!("{name}: {value}\r\n");
        }
        if let Some(body) = &self.body {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        head += "\r\n";
        head.into_bytes()
    }

    /// All of it.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_what_was_asked_for_to_the_byte() {
        let request = Request::new(Method::Post, "/x?y").with("Host", "h").with_body(3);
        assert_eq!(
            request.bytes(),
            b"POST /x?y HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nxxx"
        );
        let request = Request::new(Method::Get, "/").version(Version::Http10);
        assert_eq!(request.bytes(), b"GET / HTTP/1.0\r\n\r\n");
    }
}
