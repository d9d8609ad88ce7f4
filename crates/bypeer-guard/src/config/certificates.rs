//! Whether a certificate and its key can be used: before anybody listens, and for `--check`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::TlsFiles;
use super::validity::validity;

/// A certificate that can be used, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// Certificates in the chain.
    pub chain: usize,
    /// What it is at the moment.
    pub holds: Holds,
}

/// Whether a certificate holds at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// For so long.
    For(Duration),
    /// From then on.
    NotYet(Duration),
    /// It has expired so long ago.
    Expired(Duration),
    /// It does not say so in a way that is understood.
    Unknown,
}

impl fmt::Display for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = |time: &Duration| match time.as_secs() / 86_400 {
            0 => format!("{} hours", time.as_secs() / 3600),
            1 => "1 day".to_owned(),
            days => format!("{days} days"),
        };
        match self {
            Holds::For(time) => write!(f, "holds for {} more", days(time)),
            Holds::NotYet(time) => write!(f, "does not hold yet, but in {}", days(time)),
            Holds::Expired(time) => write!(f, "expired {} ago: clients will refuse it", days(time)),
            Holds::Unknown => f.write_str("does not say how long it holds"),
        }
    }
}

/// A file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct CertificateError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong, and what to do.
    pub why: String,
}

/// Looks at the certificate chain and the key that clients are to be shown.
///
/// # Errors
/// A file cannot be read or holds something else, or the key is another certificate's.
pub fn inspect(files: &TlsFiles) -> Result<Inspected, CertificateError> {
    let error = |path: &Path, why: String| CertificateError {
        path: path.to_owned(),
        why,
    };
    let chain = chain(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&bytes(&files.key)?).map_err(|_| {
        error(
            &files.key,
            "holds no private key in PEM (BEGIN PRIVATE KEY); an encrypted one must be decrypted first".to_owned(),
        )
    })?;
    let holds = holds(&chain[0], SystemTime::now());
    let count = chain.len();
    let provider = rustls::crypto::ring::default_provider();
    match CertifiedKey::from_der(chain, key, &provider) {
        Ok(_) => Ok(Inspected { chain: count, holds }),
        Err(rustls::Error::InconsistentKeys(_)) => Err(error(
            &files.key,
            format!(
                "is not the key of the certificate in {}; the chain must begin with the server's own",
                files.certificate.display()
            ),
        )),
        Err(other) => Err(error(
            &files.certificate,
            format!("cannot be used with {}: {other}", files.key.display()),
        )),
    }
}

/// Looks at a file of certificate authorities, and counts them.
///
/// # Errors
/// It cannot be read, or none of them can be used.
pub fn inspect_authority(path: &Path) -> Result<usize, CertificateError> {
    let mut roots = rustls::RootCertStore::empty();
    let chain = chain(path)?;
    let (added, _) = roots.add_parsable_certificates(chain);
    match added {
        0 => Err(CertificateError {
            path: path.to_owned(),
            why: "holds no certificate of an authority that can be used".to_owned(),
        }),
        added => Ok(added),
    }
}

/// At least one certificate.
fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let error = |why: &str| CertificateError {
        path: path.to_owned(),
        why: why.to_owned(),
    };
    let bytes = bytes(path)?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|_| error("is not whole: the PEM in it breaks off or is no base64"))?;
    match chain.is_empty() {
        true => Err(error("holds no certificate in PEM (BEGIN CERTIFICATE)")),
        false => Ok(chain),
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(path).map_err(|error| CertificateError {
        path: path.to_owned(),
        why: format!("cannot be read: {error}"),
    })
}

/// Until when a certificate holds, in seconds since the epoch; `None`: it does not say so in a way that is understood.
pub(crate) fn until(certificate: &CertificateDer<'_>) -> Option<i64> {
    validity(certificate).map(|validity| *validity.end())
}

fn holds(certificate: &CertificateDer<'_>, now: SystemTime) -> Holds {
    let Some(validity) = validity(certificate) else {
        return Holds::Unknown;
    };
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let (from, until) = validity.into_inner();
    if now < from {
        Holds::NotYet(Duration::from_secs(from.abs_diff(now)))
    } else if now > until {
        Holds::Expired(Duration::from_secs(now.abs_diff(until)))
    } else {
        Holds::For(Duration::from_secs(until.abs_diff(now)))
    }
}
