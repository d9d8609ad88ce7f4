//! `Proxy-Status` (RFC 9209): what happened behind the guard, for whoever is in front of it.

use std::fmt::Write as _;

use http::HeaderValue;

use crate::account::Account;
use crate::failure::Failure;

/// The field's name.
pub const PROXY_STATUS: http::HeaderName = http::HeaderName::from_static("proxy-status");

/// What the guard calls itself.
const NAME: &str = "bypeer";

/// Of an answer that the guard makes itself, for want of one from the server.
pub fn of_failure(failure: &Failure, account: &Account) -> HeaderValue {
    let mut value = format!("{NAME}; error={}", failure.proxy_error());
    next_hop(&mut value, account);
    let mut details = failure.to_string();
    if account.attempts.len() > 1 {
        let _ = write!(details, ", at try {}", account.attempts.len());
    }
    let _ = write!(value, "; details={}", quoted(&details));
    header(value)
}

/// Of an answer that came from the server: to be added to what stands there already, as the last of its list.
pub fn of_answer(account: &Account) -> HeaderValue {
    let mut value = NAME.to_owned();
    if let Some(status) = account.status {
        let _ = write!(value, "; received-status={}", status.as_u16());
    }
    next_hop(&mut value, account);
    let details = match account.attempts.as_slice() {
        attempts if attempts.iter().any(|attempt| attempt.send_failed) => {
            Some("the answer was read although sending the request had failed".to_owned())
        }
        [first, .., last] => Some(match &first.failure {
            Some(failure) => format!("answered at try {}: {failure}", account.attempts.len()),
            None => format!("answered by {} at try {}", last.to, account.attempts.len()),
        }),
        _ => None,
    };
    if let Some(details) = details {
        let _ = write!(value, "; details={}", quoted(&details));
    }
    header(value)
}

fn next_hop(value: &mut String, account: &Account) {
    if let Some(attempt) = account.attempts.last() {
        let _ = write!(value, "; next-hop={}", quoted(&attempt.to));
    }
}

/// An `sf-string` (RFC 9651 §3.3.3): printable ASCII, `"` and `\` escaped. What it cannot hold becomes `?`.
fn quoted(text: &str) -> String {
    /// A field that says why is not to be what is too large.
    const LONGEST: usize = 256;
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars().take(LONGEST) {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            ' '..='~' => out.push(character),
            _ => out.push('?'),
        }
    }
    out.push('"');
    out
}

/// All of it is printable ASCII.
fn header(value: String) -> HeaderValue {
    HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static(NAME))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::tests::{account, attempt};
    use super::*;

    #[test]
    fn a_failure_is_said_in_the_words_of_the_standard() {
        let mut account = account();
        account.attempts = vec![attempt(Some(Failure::Stale { reset: true })), attempt(None)];
        let value = of_failure(&Failure::ClosedUnanswered, &account);
        assert_eq!(
            value.to_str().unwrap(),
            "bypeer; error=connection_terminated; next-hop=\"127.0.0.1:8000\"; \
             details=\"the server closed the connection without an answer, at try 2\""
        );
    }

    #[test]
    fn an_answer_is_said_with_its_status() {
        let mut account = account();
        account.status = Some(http::StatusCode::OK);
        account.attempts = vec![attempt(None)];
        assert_eq!(
            of_answer(&account).to_str().unwrap(),
            "bypeer; received-status=200; next-hop=\"127.0.0.1:8000\""
        );
        account.attempts[0].send_failed = true;
        assert!(
            of_answer(&account)
                .to_str()
                .unwrap()
                .ends_with("although sending the request had failed\"")
        );
    }

    #[test]
    fn nothing_steps_out_of_its_quotes() {
        assert_eq!(quoted(r#"a"b\c"#), r#""a\"b\\c""#);
        assert_eq!(quoted("über\r\nX: 1\u{7f}"), "\"?ber??X: 1?\"");
        assert!(quoted(&"x".repeat(10_000)).len() <= 258);
        let value = of_failure(&Failure::Tls("\"; error=\r\n\0".to_owned()), &account());
        assert_eq!(value.to_str().unwrap().matches('"').count(), 3);
    }
}
