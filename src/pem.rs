//! Certificates and keys out of PEM files. An error is one line that names the file and what is wrong with it.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The certificates of a chain.
///
/// # Errors
/// Where the file cannot be read, or has none.
pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(format!("{}: no certificate in it", file.display())),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(named(file, error)),
    }
}

/// Certificates as authorities.
///
/// # Errors
/// As [`certificates`], and where one of them cannot be an authority.
pub fn authorities(file: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| named(file, error))?;
    }
    Ok(roots)
}

/// A private key.
///
/// # Errors
/// Where the file cannot be read, or has none.
pub fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(file).map_err(|error| named(file, format_args!("no private key: {error}")))
}

/// What is wrong with a file.
pub fn named(file: &Path, error: impl std::fmt::Display) -> String {
    format!("{}: {error}", file.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_what_is_wanted_is_named_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let (empty, missing) = (folder.path().join("empty.pem"), folder.path().join("missing.pem"));
        std::fs::write(&empty, "nothing\n").unwrap();
        let begins = |text: String, file: &Path, rest: &str| {
            assert!(text.starts_with(&format!("{}: {rest}", file.display())), "{text}");
        };
        begins(certificates(&empty).unwrap_err(), &empty, "no certificate in it");
        begins(authorities(&empty).unwrap_err(), &empty, "no certificate in it");
        begins(private_key(&empty).unwrap_err(), &empty, "no private key: ");
        begins(certificates(&missing).unwrap_err(), &missing, "");
        begins(private_key(&missing).unwrap_err(), &missing, "no private key: ");
    }
}
