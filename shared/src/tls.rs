//! The calling side of TLS, and which addresses do without.

use std::{error::Error as StdError, fs, net::IpAddr, path::Path, time::Duration};

use tonic::transport::{Certificate, ClientTlsConfig, Identity, Uri};

use crate::{Error, Result, config::TlsFiles};

/// Trusts whom these files name, and shows their certificate. `handshake`: how long one may take.
///
/// # Errors
/// Where a file cannot be read.
pub fn client(files: &TlsFiles, handshake: Duration) -> Result<ClientTlsConfig> {
    let read = |path: &Path| {
        fs::read(path).map_err(|source| Error::Io {
            context: format!("cannot read {}", path.display()),
            source,
        })
    };
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read(&files.ca)?))
        .timeout(handshake);
    Ok(match (&files.certificate, &files.key) {
        (Some(certificate), Some(key)) => {
            tls.identity(Identity::from_pem(read(certificate)?, read(key)?))
        }
        _ => tls,
    })
}

/// Whether nobody but this machine can listen on the way there.
#[must_use]
pub fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let address = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// An error with what caused it: tonic's own text says only that it failed.
#[must_use]
pub fn causes(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
