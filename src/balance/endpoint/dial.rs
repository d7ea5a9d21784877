//! Makes connections: the socket, TLS, and HTTP/2's beginning.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use http::uri::Scheme;
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::discover::Backend;
use crate::pem;

/// A stream of bytes to a backend.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

type Opening = Pin<Box<dyn Future<Output = io::Result<Box<dyn Io>>> + Send>>;

/// Opens the socket to an address.
type Open = Arc<dyn Fn(SocketAddr) -> Opening + Send + Sync>;

/// The files that speak for backends, and to them.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The authorities that a backend's certificate must come from, PEM.
    pub ca: PathBuf,
    /// The chain and the key that the gateway shows, PEM, where backends want one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// How backends are dialled.
#[derive(Clone)]
pub struct Dial {
    open: Open,
    tls: Option<TlsConnector>,
}

/// Dials over TCP, without encryption.
pub fn over_tcp() -> Dial {
    Dial::through(|address| async move {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    })
}

impl Dial {
    /// Dials through sockets that `open` makes.
    pub fn through<F, S>(open: impl Fn(SocketAddr) -> F + Send + Sync + 'static) -> Dial
    where
        F: Future<Output = io::Result<S>> + Send + 'static,
        S: Io + 'static,
    {
        let open = move |address| -> Opening {
            let opening = open(address);
            Box::pin(async move { Ok(Box::new(opening.await?) as Box<dyn Io>) })
        };
        Dial { open: Arc::new(open), tls: None }
    }

    /// Dials with TLS.
    ///
    /// # Errors
    /// One line that names the file and what is wrong with it.
    pub fn with_tls(self, files: &TlsFiles) -> Result<Dial, String> {
        Ok(Dial { tls: Some(TlsConnector::from(Arc::new(client_config(files)?))), ..self })
    }

    /// What URIs begin with.
    pub(super) fn scheme(&self) -> Scheme {
        if self.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP }
    }

    /// Where and as whom a backend is dialled.
    pub(super) fn to(&self, backend: &Backend) -> Destination {
        let name = backend.host.as_ref().and_then(|host| ServerName::try_from(host.to_string()).ok());
        let name = name.unwrap_or_else(|| ServerName::IpAddress(backend.address.ip().into()));
        Destination { dial: self.clone(), address: backend.address, name }
    }
}

/// One backend as it is dialled.
pub(super) struct Destination {
    dial: Dial,
    address: SocketAddr,
    name: ServerName<'static>,
}

impl Destination {
    /// A stream to it, encrypted where that was asked for.
    pub(super) async fn connect(&self) -> io::Result<Box<dyn Io>> {
        let stream = (self.dial.open)(self.address).await?;
        match &self.dial.tls {
            None => Ok(stream),
            Some(tls) => {
                let stream = tls.connect(self.name.clone(), stream).await?;
                if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                    return Err(io::Error::new(io::ErrorKind::Unsupported, "it does not speak HTTP/2 over TLS"));
                }
                Ok(Box::new(stream))
            }
        }
    }
}

fn client_config(files: &TlsFiles) -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(pem::authorities(&files.ca)?);
    let mut config = match &files.identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let built = builder.with_client_auth_cert(pem::certificates(chain)?, pem::private_key(key)?);
            built.map_err(|error| pem::named(chain, format_args!("does not fit {}: {error}", key.display())))?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}
