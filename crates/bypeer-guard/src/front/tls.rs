//! TLS with clients.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::client::Client;
use super::stream::{ClientLingering, ClientStream};
use crate::config::TlsFiles;
use crate::config::certificates::until;
use crate::guard::StartError;

/// What is presented to clients.
#[derive(Clone)]
pub(crate) struct Presented {
    pub(crate) acceptor: TlsAcceptor,
    /// When the certificate expires, in seconds since the epoch.
    pub(crate) until: Option<i64>,
}

/// Reads certificate and key. HTTP/2 is offered before 1.1.
pub(crate) fn acceptor(files: &TlsFiles) -> Result<Presented, StartError> {
    let wrong = |path: &std::path::Path, why: &dyn std::fmt::Display| StartError::Certificate {
        path: path.to_owned(),
        why: why.to_string(),
    };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(&files.certificate, &error))?;
    if chain.is_empty() {
        return Err(wrong(&files.certificate, &"there is no certificate in it"));
    }
    let until = until(&chain[0]);
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| wrong(&files.key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&files.certificate, &error))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| wrong(&files.certificate, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Presented {
        acceptor: TlsAcceptor::from(Arc::new(config)),
        until,
    })
}

/// Agrees on TLS. Whether HTTP/2 is spoken on it. Without agreement the socket lingers, so that rustls's alert arrives.
pub(super) async fn agree(client: &Client, acceptor: TlsAcceptor) -> io::Result<bool> {
    let stream = client.stream.take().and_then(ClientLingering::into_inner);
    let Some(ClientStream::Plain(socket)) = stream else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    match acceptor.accept(socket).into_fallible().await {
        Ok(stream) => {
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            client.tls.set(true);
            client.keep(ClientStream::Tls(Box::new(stream)));
            Ok(http2)
        }
        Err((error, socket)) => {
            client.keep(ClientStream::Plain(socket));
            client.close(b"");
            Err(error)
        }
    }
}
