//! The certificates of a simulated cluster: one authority, and one certificate for each node.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest as _, Sha256};

/// What stands before the 32 bytes of an Ed25519 key in PKCS #8.
const ED25519_HEAD: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// A certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Making or signing it failed.
    #[error("the simulator's certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
    /// TLS does not take it.
    #[error("the simulator's TLS could not be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// What a node shows to its clients.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) tls: Arc<rustls::ServerConfig>,
    pub(crate) fingerprint: String,
    pub(crate) pem: String,
}

/// A cluster's certificate authority.
#[derive(Debug)]
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    pub(crate) pem: String,
    pub(crate) fingerprint: String,
}

impl Authority {
    /// An authority whose organisational unit is `installation`, as that of a real cluster (recorded 914).
    pub(crate) fn new(installation: &str) -> Result<Self, CertificateError> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "Proxmox Virtual Environment");
        params.distinguished_name.push(DnType::OrganizationalUnitName, installation);
        params.distinguished_name.push(DnType::OrganizationName, "PVE Cluster Manager CA");
        let key = authority_key(installation)?;
        let certificate = params.self_signed(&key)?;
        let (der, pem) = (certificate.der().clone(), certificate.pem());
        let fingerprint = fingerprint(&der);
        Ok(Self { issuer: Issuer::new(params, key), der, pem, fingerprint })
    }

    /// A new certificate for a node.
    pub(crate) fn node(&self, name: &str, addresses: &[IpAddr]) -> Result<Identity, CertificateError> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned(), name.to_owned()])?;
        params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
        params.distinguished_name.push(DnType::OrganizationalUnitName, "PVE Cluster Node");
        params.distinguished_name.push(DnType::OrganizationName, "Proxmox Virtual Environment");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let fingerprint = fingerprint(certificate.der());
        let chain = vec![certificate.der().clone(), self.der.clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        Ok(Identity { tls: Arc::new(config), fingerprint, pem: certificate.pem() })
    }
}

/// The key follows from the installation, so that a simulator that is started again is the same cluster to its
/// clients. It protects nothing.
fn authority_key(installation: &str) -> Result<KeyPair, CertificateError> {
    let mut der = ED25519_HEAD.to_vec();
    der.extend(Sha256::digest(format!("authority of {installation}")));
    let der = PrivatePkcs8KeyDer::from(der);
    Ok(KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_ED25519)?)
}

/// SHA-256, upper case with colons.
fn fingerprint(der: &CertificateDer<'_>) -> String {
    Sha256::digest(der).iter().fold(String::new(), |mut text, byte| {
        let colon = if text.is_empty() { "" } else { ":" };
        let _ = write!(text, "{colon}{byte:02X}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installation_keeps_its_authority() {
        let of = |installation: &str| Authority::new(installation).unwrap().fingerprint;
        assert_eq!(of("one"), of("one"));
        assert_ne!(of("one"), of("two"));
    }
}
