//! Which authorities stand between a certificate and one that is trusted, and how many. Verifies no signature: TLS did.

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{
    CertsError,
    identity::{fingerprint, serial_number},
    internal,
};

/// Authorities between a leaf and a root, at most, where the root has no bound of its own.
const BETWEEN_MAX: u32 = 4;
/// Certificates of a chain that are looked at.
const SHOWN_MAX: usize = 10;

/// An authority that is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    subject: Vec<u8>,
    fingerprint: String,
    below_max: u32,
}

/// Who vouches for a certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Way {
    /// Issuer and serial number of each authority that was shown and may stand in between.
    pub between: Vec<(String, String)>,
    /// SHA-256 of the trusted authority at the end; of each, where several have its name.
    pub anchors: Vec<String>,
}

impl Anchor {
    /// Reads an authority's certificate.
    ///
    /// # Errors
    /// It is none.
    pub fn read(der: &CertificateDer<'_>) -> Result<Anchor, CertsError> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(internal)?;
        let own = certificate.basic_constraints().ok().flatten().and_then(|it| it.value.path_len_constraint);
        let below_max = own.map_or(BETWEEN_MAX, |own| own.min(BETWEEN_MAX));
        Ok(Anchor { subject: certificate.subject().as_raw().to_vec(), fingerprint: fingerprint(der), below_max })
    }
}

/// The way from a leaf to an anchor. `None`: there is none, or it is longer than that anchor allows.
pub fn way(leaf: &CertificateDer<'_>, shown: &[CertificateDer<'_>], anchors: &[Anchor]) -> Option<Way> {
    let parsed: Vec<X509Certificate<'_>> =
        shown.iter().take(SHOWN_MAX).filter_map(|it| X509Certificate::from_der(it).ok().map(|(_, it)| it)).collect();
    let (_, mut here) = X509Certificate::from_der(leaf).ok()?;
    let mut way = Way::default();
    for between in 0..=BETWEEN_MAX {
        let issuer = here.issuer().as_raw();
        let ends = anchors.iter().filter(|it| it.subject == issuer && between <= it.below_max);
        way.anchors.extend(ends.map(|it| it.fingerprint.clone()));
        if !way.anchors.is_empty() {
            return Some(way);
        }
        // A root that is shown along leads nowhere but to itself.
        let mut above = parsed.iter().filter(|it| it.subject().as_raw() == issuer && it.issuer().as_raw() != issuer);
        let named = |it: &X509Certificate<'_>| (it.issuer().to_string(), serial_number(it.raw_serial()));
        way.between.extend(above.clone().map(named));
        here = above.next()?.clone();
    }
    None
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    use super::*;

    struct Ca {
        der: CertificateDer<'static>,
        issuer: Issuer<'static, KeyPair>,
    }

    fn named(name: &str, is_ca: IsCa) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = is_ca;
        params
    }

    fn root(name: &str, constraint: BasicConstraints) -> Ca {
        let (params, key) = (named(name, IsCa::Ca(constraint)), KeyPair::generate().unwrap());
        let der = params.self_signed(&key).unwrap().der().clone();
        Ca { der, issuer: Issuer::new(params, key) }
    }

    fn below(ca: &Ca, name: &str) -> Ca {
        let params = named(name, IsCa::Ca(BasicConstraints::Unconstrained));
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, &ca.issuer).unwrap().der().clone();
        Ca { der, issuer: Issuer::new(params, key) }
    }

    fn leaf(ca: &Ca) -> CertificateDer<'static> {
        named("leaf", IsCa::NoCa).signed_by(&KeyPair::generate().unwrap(), &ca.issuer).unwrap().der().clone()
    }

    #[test]
    fn a_chain_is_as_long_as_its_root_allows() {
        for (constraint, between, expected) in [
            (BasicConstraints::Constrained(0), 0, true),
            (BasicConstraints::Constrained(0), 1, false),
            (BasicConstraints::Constrained(1), 1, true),
            (BasicConstraints::Constrained(1), 2, false),
            (BasicConstraints::Unconstrained, 4, true),
            (BasicConstraints::Unconstrained, 5, false),
        ] {
            let root = root("root", constraint);
            let anchor = Anchor::read(&root.der).unwrap();
            let mut shown = vec![root.der.clone()];
            let mut ca = root;
            for number in 0..between {
                ca = below(&ca, &format!("between {number}"));
                shown.insert(0, ca.der.clone());
            }
            let way = way(&leaf(&ca), &shown, &[anchor]);
            assert_eq!(way.is_some(), expected, "{constraint:?} {between}");
            if let Some(way) = way {
                assert_eq!(way.anchors, [fingerprint(shown.last().unwrap())]);
                let issuers: Vec<&str> = way.between.iter().map(|it| it.0.as_str()).collect();
                let between = (0..between)
                    .rev()
                    .map(|it| if it == 0 { "CN=root".into() } else { format!("CN=between {}", it - 1) });
                assert_eq!(issuers, between.collect::<Vec<String>>());
            }
        }
    }

    #[test]
    fn a_way_that_ends_nowhere_or_in_a_circle_is_none() {
        let (trusted, other) =
            (root("root", BasicConstraints::Unconstrained), root("other", BasicConstraints::Unconstrained));
        let anchor = Anchor::read(&trusted.der).unwrap();
        assert_eq!(way(&leaf(&other), &[], std::slice::from_ref(&anchor)), None);
        assert_eq!(way(&leaf(&other), std::slice::from_ref(&other.der), &[anchor]), None);
    }
}
