//! `Proxy-Status` (RFC 9209): what happened behind the guard, for whoever is in front of it.

use std::fmt::Write as _;

use http::HeaderValue;

use crate::account::Account;

/// The field's name.
pub const PROXY_STATUS: http::HeaderName = http::HeaderName::from_static("proxy-status");

/// What the guard calls itself, here and in `Via`.
pub const NAME: &str = "bypeer";

/// Of an answer that the guard makes itself. `error` is a type of RFC 9209, section 2.3; `details` may be read by clients: no name and no
/// address of what is behind.
pub(crate) fn of_own(error: &str, details: &str) -> HeaderValue {
    header(format!("{NAME}; error={error}; details={}", quoted(details)))
}

/// Of an answer that came from the server: to be added to what stands there already, as the last of its list.
pub(crate) fn of_answer(account: &Account) -> HeaderValue {
    let mut value = NAME.to_owned();
    if let Some(status) = account.status {
        let _ = write!(value, "; received-status={}", status.as_u16());
    }
    let details = match account.attempts.as_slice() {
        attempts if attempts.iter().any(|attempt| attempt.send_failed) => {
            Some("the answer was read although sending the request had failed".to_owned())
        }
        attempts if attempts.len() > 1 => Some(format!("answered at try {}", attempts.len())),
        _ => None,
    };
    if let Some(details) = details {
        let _ = write!(value, "; details={}", quoted(&details));
    }
    header(value)
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
    HeaderValue::try_from(value).unwrap_or_else(|_| HeaderValue::from_static(NAME))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::tests::{account, attempt};
    use super::*;
    use crate::failure::Failure;

    #[test]
    fn an_answer_is_said_with_its_status_and_what_it_took() {
        let mut account = account();
        account.status = Some(http::StatusCode::OK);
        account.attempts = vec![attempt(None)];
        assert_eq!(of_answer(&account), "bypeer; received-status=200");
        account.attempts = vec![attempt(Some(Failure::Stale { reset: true })), attempt(None)];
        assert_eq!(
            of_answer(&account),
            "bypeer; received-status=200; details=\"answered at try 2\""
        );
        account.attempts[1].send_failed = true;
        let value = of_answer(&account);
        assert!(
            value
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
        let value = of_own("http_request_error", "\"; error=\r\n\0");
        assert_eq!(value, r#"bypeer; error=http_request_error; details="\"; error=???""#);
    }
}
