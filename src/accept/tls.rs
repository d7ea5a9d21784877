//! The listener's certificate. It is looked up for each connection, so that another one can take its place.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use tokio_rustls::TlsAcceptor;

use crate::pem;

/// The files that a certificate comes from.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate chain, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Who must have signed a client's certificate, PEM; without it no client needs one.
    pub client_ca: Option<PathBuf>,
}

/// The TLS configuration in use.
#[derive(Debug, Clone)]
pub struct Tls {
    current: Arc<ArcSwap<ServerConfig>>,
}

impl Tls {
    /// Reads and checks the files.
    ///
    /// # Errors
    /// One line that names the file and what is wrong with it.
    pub fn load(files: &TlsFiles) -> Result<Tls, String> {
        Ok(Tls { current: Arc::new(ArcSwap::from_pointee(server_config(files)?)) })
    }

    /// For the next connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }
}

fn server_config(files: &TlsFiles) -> Result<ServerConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let roots = Arc::new(pem::authorities(file)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            let verifier = verifier.map_err(|error| pem::named(file, error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let (chain, key) = (pem::certificates(&files.cert)?, pem::private_key(&files.key)?);
    let mut config = builder.with_single_cert(chain, key).map_err(|error| {
        format!("{} and {} do not fit together: {error}", files.cert.display(), files.key.display())
    })?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}
