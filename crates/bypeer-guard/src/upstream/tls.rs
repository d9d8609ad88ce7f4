//! TLS with the server.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::shared::SetupError;
use crate::config::{self, UpstreamVersion};
use crate::failure::Failure;

/// Of the versions of HTTP the guard offers one. HTTP/1.1 is what a server has that knows nothing of such offers.
pub const NO_HTTP2: &str = "the server does not offer HTTP/2; set upstream.version = \"1.1\"";
const DAY: u64 = 86_400;

/// What is offered and whom is trusted. Made once: sessions are resumed by all workers.
pub fn client_config(config: &config::Upstream) -> Result<Arc<ClientConfig>, SetupError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| SetupError::Tls(error.to_string()))?;
    let mut tls = if config.insecure {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            .with_no_client_auth()
    } else {
        builder.with_root_certificates(roots(config)?).with_no_client_auth()
    };
    tls.alpn_protocols = vec![match config.version {
        UpstreamVersion::Http1 => b"http/1.1".to_vec(),
        UpstreamVersion::Http2 => b"h2".to_vec(),
    }];
    Ok(Arc::new(tls))
}

fn roots(config: &config::Upstream) -> Result<RootCertStore, SetupError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = &config.authority else {
        // Single certificates of the system's that cannot be used are no reason to do without the others.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return match roots.is_empty() {
            true => Err(SetupError::NoRoots),
            false => Ok(roots),
        };
    };
    let unreadable = |reason: String| SetupError::Authority {
        path: path.clone(),
        reason,
    };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unreadable(error.to_string()))?;
    }
    match roots.is_empty() {
        true => Err(unreadable("it holds no certificate".to_owned())),
        false => Ok(roots),
    }
}

/// The name that the server's certificate must be for.
pub fn server_name(host: &str) -> Result<ServerName<'static>, SetupError> {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    ServerName::try_from(bare.to_owned()).map_err(|_| SetupError::Name(host.to_owned()))
}

/// What an error of the handshake means.
pub fn handshake_failure(error: io::Error) -> Failure {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(reason)) => Failure::Certificate(certificate_words(reason)),
        Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)) => {
            Failure::Tls("the server does not speak TLS on this port; write http://".to_owned())
        }
        Some(
            rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol)
            | rustls::Error::NoApplicationProtocol,
        ) => Failure::Tls(NO_HTTP2.to_owned()),
        Some(other) => Failure::Tls(other.to_string()),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            Failure::Tls("the server closed the connection in the middle of the handshake".to_owned())
        }
        None => Failure::Tls(error.to_string()),
    }
}

fn date(moment: UnixTime) -> String {
    let seconds = i64::try_from(moment.as_secs()).ok();
    match seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()) {
        Some(moment) => moment.to_zoned(jiff::tz::TimeZone::UTC).date().to_string(),
        None => format!("{} s after 1970", moment.as_secs()),
    }
}

fn certificate_words(reason: &rustls::CertificateError) -> String {
    match reason {
        rustls::CertificateError::UnknownIssuer => "its issuer is not known".to_owned(),
        rustls::CertificateError::ExpiredContext { time, not_after } => {
            let days = time.as_secs().saturating_sub(not_after.as_secs()) / DAY;
            format!("it expired {days} days ago ({})", date(*not_after))
        }
        rustls::CertificateError::NotValidYetContext { not_before, .. } => {
            format!("it is not valid before {}", date(*not_before))
        }
        // What webpki says of it does not come as a value of its own.
        other if other.to_string().contains("CaUsedAsEndEntity") => {
            "it is an authority's own certificate (CA:TRUE, as `openssl req -x509` makes them): let the server have one with CA:FALSE"
                .to_owned()
        }
        other => other.to_string(),
    }
}

/// `insecure`: any certificate will do, but the handshake must still be signed with its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_certificate_that_is_over_is_told_with_its_date() {
        let at = |days| UnixTime::since_unix_epoch(Duration::from_secs(days * DAY));
        let expired = rustls::CertificateError::ExpiredContext {
            time: at(20_003),
            not_after: at(20_000),
        };
        assert_eq!(certificate_words(&expired), "it expired 3 days ago (2024-10-04)");
        let early = rustls::CertificateError::NotValidYetContext {
            time: at(19_999),
            not_before: at(20_000),
        };
        assert_eq!(certificate_words(&early), "it is not valid before 2024-10-04");
    }
}
