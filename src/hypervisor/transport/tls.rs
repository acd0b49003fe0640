//! Whom to trust: the system's CAs, a given CA bundle, or pinned certificates.
//!
//! A pin replaces the check of chain and host name, never that of the handshake's signature: a server must prove that
//! it has the pinned certificate's key. Every certificate that is presented is remembered, so that its end can be
//! shown before it comes, and a refusal can say what was presented.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};

use super::PeerCertificate;
use crate::domain::fault::{Fault, FaultKind};

/// How a server's certificate is checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// CA certificates in PEM form. Without them (and without pins) the system's CAs are trusted.
    pub ca_pem: Option<String>,
    /// SHA-256 fingerprints, hex, colons and case do not matter. A certificate with one of them is accepted whoever
    /// signed it; the system's CAs do not count then, those of `ca_pem` do.
    pub fingerprints: Vec<String>,
    /// Accepts every certificate. For trials only.
    pub insecure_skip_verify: bool,
}

/// The certificates that servers presented last, by host.
#[derive(Debug, Default)]
pub(super) struct Presented(Mutex<HashMap<String, PeerCertificate>>);

impl Presented {
    pub(super) fn get(&self, host: &str) -> Option<PeerCertificate> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(host).cloned()
    }

    fn put(&self, host: String, certificate: PeerCertificate) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(host, certificate);
    }
}

#[derive(Debug)]
enum Trust {
    Anyone,
    /// Whoever has one of the pins, or is vouched for by an authority.
    Known {
        pins: Vec<[u8; 32]>,
        authorities: Option<Authorities>,
    },
}

#[derive(Debug)]
struct Authorities {
    verifier: Arc<WebPkiServerVerifier>,
    /// What is said if none of them vouches for a certificate.
    none: &'static str,
}

#[derive(Debug)]
struct Verifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
    presented: Arc<Presented>,
}

/// The TLS configuration for `settings`; what servers present goes into `presented`.
pub(super) fn client_config(settings: &TlsSettings, presented: Arc<Presented>) -> Result<rustls::ClientConfig, Fault> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let trust = trust(settings, &provider)?;
    let verifier = Verifier { trust, provider: provider.clone(), presented };
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Fault::new(FaultKind::Certificate, format!("TLS cannot be set up: {e}")))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    // A resumed session shows no certificate, and so would hide that it was replaced or is about to end.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

fn trust(settings: &TlsSettings, provider: &Arc<CryptoProvider>) -> Result<Trust, Fault> {
    if settings.insecure_skip_verify {
        return Ok(Trust::Anyone);
    }
    let pins = settings.fingerprints.iter().map(|text| pin(text)).collect::<Result<Vec<_>, _>>()?;
    let authorities = match &settings.ca_pem {
        Some(pem) => Some(authorities(bundle(pem)?, "no CA in the bundle of tls.caRef vouches for it", provider)?),
        None if pins.is_empty() => {
            Some(authorities(system_roots(), "none of the system's CAs vouches for it", provider)?)
        }
        None => None,
    };
    Ok(Trust::Known { pins, authorities })
}

fn authorities(roots: RootCertStore, none: &'static str, provider: &Arc<CryptoProvider>) -> Result<Authorities, Fault> {
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    let verifier = verifier.map_err(|e| {
        let text = format!("no CA to check certificates with: {e}; set tls.caRef or tls.fingerprints");
        Fault::new(FaultKind::Certificate, text)
    })?;
    Ok(Authorities { verifier, none })
}

fn bundle(pem: &str) -> Result<RootCertStore, Fault> {
    let bad = |what: String| {
        Fault::new(
            FaultKind::Certificate,
            format!("the CA bundle of tls.caRef is not usable: {what}; it must hold PEM certificates"),
        )
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|e| bad(e.to_string()))?;
        roots.add(certificate).map_err(|e| bad(e.to_string()))?;
    }
    if roots.is_empty() { Err(bad("no certificate in it".to_owned())) } else { Ok(roots) }
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// Reads a SHA-256 fingerprint: 64 hex digits, with or without colons.
fn pin(text: &str) -> Result<[u8; 32], Fault> {
    let bad = || {
        Fault::new(
            FaultKind::Certificate,
            format!("tls.fingerprints has {text:?}, which is no SHA-256 fingerprint: 32 pairs of hex digits"),
        )
    };
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| *c != ':' && !c.is_whitespace())
        .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()).ok_or_else(bad))
        .collect::<Result<_, _>>()?;
    let pairs: Vec<u8> = digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte * 16 + digit)).collect();
    if digits.len() == 64 { pairs.try_into().map_err(|_| bad()) } else { Err(bad()) }
}

/// A fingerprint as people read it: upper-case pairs with colons.
fn spelled(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

fn describe(certificate: &CertificateDer<'_>) -> PeerCertificate {
    let fingerprint = spelled(&Sha256::digest(certificate));
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else {
        return PeerCertificate { fingerprint, subject: "not readable".to_owned(), ends: None };
    };
    let ends = Timestamp::from_second(parsed.validity().not_after.timestamp()).ok();
    PeerCertificate { fingerprint, subject: parsed.subject().to_string(), ends }
}

fn refusal(host: &str, shown: &PeerCertificate, why: &str) -> Error {
    let ends = shown.ends.map_or(String::new(), |end| format!(", ends {end}"));
    // A text of our own is carried as `General`; see `client::refused_certificate`.
    Error::General(format!(
        "{host} presented a certificate that is not accepted: {why}. Presented: {}{ends}, SHA-256 {}. Set tls.caRef to \
         the CA that signed it, or, after comparing it on the server itself, add the fingerprint to tls.fingerprints",
        shown.subject, shown.fingerprint
    ))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let host = server_name.to_str().into_owned();
        let shown = describe(end_entity);
        self.presented.put(host.clone(), shown.clone());
        let Trust::Known { pins, authorities } = &self.trust else { return Ok(ServerCertVerified::assertion()) };
        let digest: [u8; 32] = Sha256::digest(end_entity).into();
        if pins.contains(&digest) {
            return Ok(ServerCertVerified::assertion());
        }
        let mut why = Vec::new();
        if !pins.is_empty() {
            why.push("its fingerprint is not in tls.fingerprints".to_owned());
        }
        if let Some(Authorities { verifier, none }) = authorities {
            match verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
                Ok(verified) => return Ok(verified),
                Err(e) => why.push(format!("{none} ({e})")),
            }
        }
        Err(refusal(&host, &shown, &why.join(", and ")))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_in_every_usual_spelling() {
        let digest: [u8; 32] = Sha256::digest(b"x").into();
        let upper = spelled(&digest);
        assert_eq!(pin(&upper).unwrap(), digest);
        assert_eq!(pin(&upper.to_lowercase().replace(':', "")).unwrap(), digest);
        for bad in ["", "AB:CD", &upper[3..], &format!("{upper}:00"), &upper.replace('0', "g").replace('A', "h")] {
            assert_eq!(pin(bad).unwrap_err().kind, FaultKind::Certificate, "{bad}");
        }
    }

    #[test]
    fn an_unusable_bundle_is_refused_with_a_hint() {
        let settings = TlsSettings { ca_pem: Some("no certificate".to_owned()), ..TlsSettings::default() };
        let fault = client_config(&settings, Arc::default()).unwrap_err();
        assert!(fault.message.contains("tls.caRef"), "{fault}");
    }
}
