//! What a device asks to have signed (PKCS #10): read with tolerance for how it travelled, judged without. Values in, values out.

use base64::{Engine, engine::general_purpose::STANDARD};
use percent_encoding::percent_decode_str;
use x509_parser::{
    certification_request::X509CertificationRequest,
    extensions::ParsedExtension,
    oid_registry::{OID_EC_P256, OID_NIST_EC_P384, OID_SIG_ED25519},
    prelude::FromDer,
    public_key::PublicKey,
    x509::SubjectPublicKeyInfo,
};

/// Longest request, in bytes as it is sent. RSA with 8192 bits needs less than 4,000.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024;
const RSA_BITS_MIN: usize = 2048;
const RSA_BITS_MAX: usize = 8192;
/// Smaller exponents have been the way into too many implementations.
const RSA_EXPONENT_MIN: u64 = 65_537;

/// Why nothing is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadRequest {
    /// Longer than [`REQUEST_BYTES_MAX`].
    Long,
    /// No PEM, or no certificate request in it.
    Malformed,
    /// Whoever sent it does not have the private key.
    Signature,
    /// Too weak, or of a kind that nobody here can verify.
    Key,
    /// It wants to sign certificates itself.
    Authority,
}

impl BadRequest {
    /// For the device, as the text of the error.
    pub fn text(self) -> &'static str {
        match self {
            BadRequest::Long => "the request is too long",
            BadRequest::Malformed => "it is no certificate request in PEM",
            BadRequest::Signature => "the signature of the request is wrong",
            BadRequest::Key => "the key must be RSA of 2048 to 8192 bits, P-256, P-384 or Ed25519",
            BadRequest::Authority => "a device cannot be an authority",
        }
    }

    /// For metrics.
    pub fn label(self) -> &'static str {
        match self {
            BadRequest::Long => "long",
            BadRequest::Malformed => "malformed",
            BadRequest::Signature => "signature",
            BadRequest::Key => "key",
            BadRequest::Authority => "authority",
        }
    }
}

/// A public key whose owner has shown that he has the private one. Of the request nothing else is kept: what the certificate
/// says is decided here, not by the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub(super) public_key: rcgen::SubjectPublicKeyInfo,
}

/// Reads and judges a request; `None` for an empty text. It may be PEM, PEM in URL encoding, or PEM whose `+` a form made spaces.
///
/// # Errors
/// Why nothing is signed.
pub fn read(text: &str) -> Result<Option<Request>, BadRequest> {
    if text.len() > REQUEST_BYTES_MAX {
        return Err(BadRequest::Long);
    }
    if text.trim().is_empty() {
        return Ok(None);
    }
    let body = body(text).ok_or(BadRequest::Malformed)?;
    // Spaces are line breaks, or what a form made of `+`: only one of the two readings is a request.
    let readings = [body.replace(' ', ""), body.replace(' ', "+")];
    let mut refusal = BadRequest::Malformed;
    for letters in readings {
        let Ok(der) = STANDARD.decode(letters) else { continue };
        match judge(&der) {
            Ok(request) => return Ok(Some(request)),
            Err(BadRequest::Malformed) => {}
            Err(other) => refusal = other,
        }
    }
    Err(refusal)
}

/// The base64 between the two marks of PEM, its lines joined.
fn body(text: &str) -> Option<String> {
    let text = if text.contains('%') {
        percent_decode_str(&text.replace('+', " ")).decode_utf8().ok()?.into_owned()
    } else {
        text.to_owned()
    };
    let (_, rest) = text.split_once("-----BEGIN")?;
    let (kind, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once("-----END")?;
    let kind = kind.replace('+', " ");
    if !matches!(kind.trim(), "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST") {
        return None;
    }
    // "\n" written as two characters is how some JSON arrives.
    let body = body.replace("\\n", "\n");
    // A space at the end of a line may have been a `+`.
    Some(body.lines().map(|line| line.trim_matches(['\r', '\t'])).collect())
}

fn judge(der: &[u8]) -> Result<Request, BadRequest> {
    let (rest, request) = X509CertificationRequest::from_der(der).map_err(|_| BadRequest::Malformed)?;
    if !rest.is_empty() {
        return Err(BadRequest::Malformed);
    }
    let key = &request.certification_request_info.subject_pki;
    check_key(key)?;
    // Shipped Android agents sign with SHA-1. That is enough to show who has the key; what we sign carries none of it.
    request.verify_signature().map_err(|_| BadRequest::Signature)?;
    for extension in request.requested_extensions().into_iter().flatten() {
        match extension {
            ParsedExtension::BasicConstraints(it) if it.ca => return Err(BadRequest::Authority),
            ParsedExtension::KeyUsage(it) if it.key_cert_sign() || it.crl_sign() => return Err(BadRequest::Authority),
            ParsedExtension::ParseError { .. } => return Err(BadRequest::Malformed),
            _ => {}
        }
    }
    let public_key = rcgen::SubjectPublicKeyInfo::from_der(key.raw).map_err(|_| BadRequest::Key)?;
    Ok(Request { public_key })
}

fn check_key(key: &SubjectPublicKeyInfo<'_>) -> Result<(), BadRequest> {
    let is_good = match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => {
            (RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits(rsa.modulus))
                && exponent(rsa.exponent).is_some_and(|it| it >= RSA_EXPONENT_MIN && it % 2 == 1)
        }
        Ok(PublicKey::EC(_)) => {
            let curve = key.algorithm.parameters.as_ref().and_then(|it| it.as_oid().ok());
            curve.is_some_and(|it| it == OID_EC_P256 || it == OID_NIST_EC_P384)
        }
        Ok(_) => key.algorithm.algorithm == OID_SIG_ED25519,
        Err(_) => false,
    };
    if is_good { Ok(()) } else { Err(BadRequest::Key) }
}

/// Bits of an unsigned integer in big endian.
fn bits(bytes: &[u8]) -> usize {
    let significant = bytes.iter().position(|it| *it != 0).map_or(&[][..], |at| &bytes[at..]);
    significant.first().map_or(0, |first| significant.len() * 8 - first.leading_zeros() as usize)
}

fn exponent(bytes: &[u8]) -> Option<u64> {
    let significant = bytes.iter().position(|it| *it != 0).map(|at| &bytes[at..])?;
    (significant.len() <= 8).then(|| significant.iter().fold(0, |sum, it| sum << 8 | u64::from(*it)))
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose, RsaKeySize, SignatureAlgorithm};

    use super::*;

    fn pem_with(key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> String {
        let mut params = CertificateParams::default();
        change(&mut params);
        params.serialize_request(key).unwrap().pem().unwrap()
    }

    fn pem(algorithm: &'static SignatureAlgorithm) -> String {
        pem_with(&KeyPair::generate_for(algorithm).unwrap(), |_| {})
    }

    fn check(text: &str, expected: Result<bool, BadRequest>) {
        assert_eq!(read(text).map(|it| it.is_some()), expected, "{text}");
    }

    #[test]
    fn keys_that_are_strong_enough_are_taken() {
        check(&pem(&rcgen::PKCS_ECDSA_P256_SHA256), Ok(true));
        check(&pem(&rcgen::PKCS_ECDSA_P384_SHA384), Ok(true));
        check(&pem(&rcgen::PKCS_ED25519), Ok(true));
        let rsa = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        check(&pem_with(&rsa, |_| {}), Ok(true));
    }

    #[test]
    fn shipped_agents_that_sign_with_sha_1_are_taken() {
        check(include_str!("requests/android_rsa4096_sha1.pem"), Ok(true));
    }

    #[test]
    fn keys_that_are_too_weak_are_refused() {
        check(include_str!("requests/rsa1024.pem"), Err(BadRequest::Key));
        check(include_str!("requests/p521.pem"), Err(BadRequest::Key));
        check(include_str!("requests/secp256k1.pem"), Err(BadRequest::Key));
        check(include_str!("requests/rsa2048_exponent3.pem"), Err(BadRequest::Key));
        check(include_str!("requests/dsa.pem"), Err(BadRequest::Key));
    }

    #[test]
    fn a_request_arrives_as_pem_as_url_and_with_spaces_for_plus() {
        // A request whose base64 has a plus sign in it.
        let plain = std::iter::repeat_with(|| pem(&rcgen::PKCS_ECDSA_P256_SHA256)).find(|it| it.contains('+')).unwrap();
        check(&plain, Ok(true));
        check(&plain.replace('\n', "\r\n"), Ok(true));
        check(&utf8_percent_encode(&plain, NON_ALPHANUMERIC).to_string(), Ok(true));
        let as_java_does = utf8_percent_encode(&plain.replace(' ', "\u{1}"), NON_ALPHANUMERIC).to_string();
        check(&as_java_does.replace("%01", "+"), Ok(true));
        check(&plain.replace('+', " "), Ok(true));
        check(&plain.replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"), Ok(true));
        let mut at_ends = std::iter::repeat_with(|| pem(&rcgen::PKCS_ECDSA_P256_SHA256));
        let at_ends = at_ends.find(|it| it.contains("+\n") && it.contains("\n+")).unwrap();
        check(&at_ends.replace('+', " "), Ok(true));
        check(&at_ends.replace('+', " ").replace('\n', "\r\n"), Ok(true));
        let in_one_line = plain.replacen("REQUEST-----", "REQUEST----- ", 1).replace('\n', " ");
        check(&in_one_line, Ok(true));
        check("", Ok(false));
        check(" \n", Ok(false));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        check("csr", Err(BadRequest::Malformed));
        check(
            "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----",
            Err(BadRequest::Malformed),
        );
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::default().self_signed(&key).unwrap().pem();
        check(&certificate, Err(BadRequest::Malformed));
        check(&certificate.replace("CERTIFICATE", "CERTIFICATE REQUEST"), Err(BadRequest::Malformed));
        check(&"x".repeat(REQUEST_BYTES_MAX + 1), Err(BadRequest::Long));
        check(&"%FF".repeat(100), Err(BadRequest::Malformed));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_survived(text in ".{0,300}", bytes in proptest::collection::vec(0_u8.., 0..300)) {
            assert!(read(&text).is_ok_and(|it| it.is_none()) || read(&text).is_err());
            let framed = format!(
                "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----",
                STANDARD.encode(bytes)
            );
            assert!(read(&framed).is_err());
        }
    }

    #[test]
    fn a_changed_request_has_a_wrong_signature() {
        let good = pem(&rcgen::PKCS_ECDSA_P256_SHA256);
        let letters: String = good.lines().filter(|it| !it.starts_with("---")).collect();
        let mut der = STANDARD.decode(letters).unwrap();
        let last = der.len() - 1;
        der[last] ^= 1;
        let text = format!(
            "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n",
            STANDARD.encode(&der)
        );
        check(&text, Err(BadRequest::Signature));
    }

    #[test]
    fn a_wish_to_be_an_authority_is_refused() {
        let key = KeyPair::generate().unwrap();
        let wish = pem_with(&key, |it| it.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
        check(&wish, Err(BadRequest::Authority));
        for usage in [KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign] {
            check(&pem_with(&key, |it| it.key_usages = vec![usage]), Err(BadRequest::Authority));
        }
        check(&pem_with(&key, |it| it.key_usages = vec![KeyUsagePurpose::DigitalSignature]), Ok(true));
    }
}
