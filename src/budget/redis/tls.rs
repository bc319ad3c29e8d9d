//! TLS around a connection, with the certificates that the system trusts.

use std::io;
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::unix::link::Link;

/// The connection with TLS around it; hands are shaken with the first bytes.
///
/// # Errors
/// The host's name is none that a certificate could be for.
pub(super) fn secured(link: Link, host: &str) -> io::Result<StreamOwned<ClientConnection, Link>> {
    let mut roots = RootCertStore::empty();
    // One that cannot be read lets nobody be trusted.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    Ok(StreamOwned::new(connection, link))
}
