//! The API server's certificate, and the key pair that signs the tokens of service accounts.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use super::{Error, files};

/// The files that the processes are given. All PEM.
#[derive(Debug, Clone)]
pub(super) struct Certificates {
    /// The authority that signed the API server's certificate.
    pub(super) ca: PathBuf,
    /// The API server's certificate.
    pub(super) server: PathBuf,
    /// Its key.
    pub(super) server_key: PathBuf,
    /// What signs the tokens of service accounts.
    pub(super) token_key: PathBuf,
    /// What checks them.
    pub(super) token_public_key: PathBuf,
    /// The content of `ca`.
    pub(super) ca_pem: String,
}

impl Certificates {
    /// Makes new ones in the folder. The authority's key is forgotten.
    pub(super) fn make(folder: &Path) -> Result<Self, Error> {
        let (ca, ca_pem) = authority()?;
        let key = KeyPair::generate()?;
        let server = server_params()?.signed_by(&key, &ca)?;
        let token_key = KeyPair::generate()?;
        Ok(Self {
            ca: files::write(folder, "ca.crt", &ca_pem)?,
            server: files::write(folder, "apiserver.crt", server.pem())?,
            server_key: files::write(folder, "apiserver.key", key.serialize_pem())?,
            token_key: files::write(folder, "tokens.key", token_key.serialize_pem())?,
            token_public_key: files::write(folder, "tokens.pub", token_key.public_key_pem())?,
            ca_pem,
        })
    }
}

fn authority() -> Result<(Issuer<'static, KeyPair>, String), Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "stevedore test control plane");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    let pem = params.self_signed(&key)?.pem();
    Ok((Issuer::new(params, key), pem))
}

fn server_params() -> Result<CertificateParams, Error> {
    // The second name is the one by which Pods would reach the API server.
    let mut params = CertificateParams::new(["localhost", "kubernetes.default.svc", "127.0.0.1"].map(str::to_owned))?;
    params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}
