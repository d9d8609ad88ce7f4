use crate::Clause;

/// What is known of a server, proxy or client: its timeouts, closing habits and the settings that change them.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Software {
    /// Its name, as people say it.
    pub name: String,
}

/// The clause with an id such as "RFC 9112 §9.6".
pub fn clause(_id: &str) -> Option<&'static Clause> {
    None
}

/// What is known of the software that calls itself so in `Server:`.
pub fn software(_server_header: &str) -> Option<&'static Software> {
    None
}
