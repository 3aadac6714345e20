//! Targets that read certificates of strangers: what devices want signed, whom a certificate names and who vouches for it, and the
//! revocation lists of other authorities.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, LazyLock},
    thread,
};

use mdmq::{
    clock::Timestamp,
    config::{CertificateMapping, Mqtt},
    ids::{AgentId, EntityId, Serial},
    pki::{
        Authority,
        foreign::ForeignCrls,
        identity::{Claim, ClientIdentity, Holder, Reader},
        issue::{Signer, Terms},
        path::{Anchor, Way},
        request,
    },
};
use x509_parser::{pem::parse_x509_pem, public_key::PublicKey, x509::SubjectPublicKeyInfo};

const NOW: Timestamp = Timestamp(1_795_000_000_000);
const LIFE_S: u32 = 86_400;
/// The authority of the seeds, which allows one other between itself and a device. Nobody has its key any more.
const ROOT: &[u8] = include_bytes!("seeds/root.der");
const ROOT_NAME: &str = "CN=root";
/// What its list revokes.
const REVOKED: &str = "4c973ec323b40359";

/// An authority of our own that signs what was accepted.
static SIGNER: LazyLock<Signer> = LazyLock::new(|| {
    let home = std::env::temp_dir().join(format!("mdmq-fuzz-{}", std::process::id()));
    let signer = Authority::open(&home, NOW).and_then(|it| it.signer()).expect("an authority in a new directory");
    let _ = fs::remove_dir_all(home);
    signer
});

static ANCHORS: LazyLock<Arc<[Anchor]>> =
    LazyLock::new(|| [Anchor::read(&ROOT.into()).expect("the seed is a certificate")].into());

pub fn certificate_request(data: &[u8]) {
    let Ok(Some(request)) = request::read(&String::from_utf8_lossy(data)) else { return };
    let holder =
        Holder { agent: AgentId(3), entity: EntityId(76), serial: Serial::parse("AZERTY").expect("a plain serial") };
    let terms = Terms { now: NOW, life_s: LIFE_S, crl_url: None };
    let issued = SIGNER.issue_client(&request, &holder, &terms).expect("what is accepted can be signed");
    let (_, pem) = parse_x509_pem(issued.pem.as_bytes()).expect("what we sign is PEM");
    let certificate = pem.parse_x509().expect("what we sign is a certificate");
    assert!(is_strong(certificate.public_key()), "a weak key was signed");
    // Of the request there is the key and nothing else.
    assert_eq!((certificate.subject().to_string().as_str(), certificate.is_ca()), ("CN=AZERTY", false));
    let names = certificate.subject_alternative_name().expect("readable names").expect("a name");
    assert_eq!(names.value.general_names.len(), 1);
    let reader = Reader::new(&Mqtt::default(), Vec::new(), Arc::default());
    let identity = reader.read(&pem.contents.as_slice().into(), &[]).expect("what we sign, we read");
    assert_eq!(identity.claim, Claim::Ours(holder));
    assert_eq!((identity.fingerprint, identity.serial_number), (issued.fingerprint, issued.serial_number));
    assert!(identity.not_after.0 <= NOW.0 + i64::from(LIFE_S) * 1000);
}

/// The rule for keys once more, in other words.
fn is_strong(key: &SubjectPublicKeyInfo<'_>) -> bool {
    let kind = key.algorithm.algorithm.to_id_string();
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => {
            let modulus = rsa.modulus.iter().skip_while(|it| **it == 0).count();
            (256..=1024).contains(&modulus) && rsa.try_exponent().is_ok_and(|it| it > 65_536 && it & 1 == 1)
        }
        Ok(PublicKey::EC(_)) => {
            let curve = key.algorithm.parameters.as_ref().and_then(|it| it.as_oid().ok()).map(|it| it.to_id_string());
            matches!(curve.as_deref(), Some("1.2.840.10045.3.1.7" | "1.3.132.0.34"))
        }
        _ => kind == "1.3.101.112",
    }
}

pub fn certificate_mapping(data: &[u8]) {
    let (leaf, shown) = shown(data);
    for mapping in [
        CertificateMapping::Cn,
        CertificateMapping::SerialNumber,
        CertificateMapping::SanDns,
        CertificateMapping::SanUri,
    ] {
        for client_ca_file in ["", "ca.pem"] {
            if let Some(identity) = read(leaf, &shown, mapping, client_ca_file) {
                assert_eq!(identity.fingerprint.len(), 64);
                check_way(&identity, &shown);
            }
        }
    }
}

/// Who vouches for the first certificate of these, where other authorities are trusted.
#[allow(dead_code, reason = "for the test of the seeds")]
pub fn way(data: &[u8]) -> Way {
    let (leaf, shown) = shown(data);
    read(leaf, &shown, CertificateMapping::Cn, "ca.pem").map(|it| it.way).unwrap_or_default()
}

fn check_way(identity: &ClientIdentity, shown: &[&[u8]]) {
    let Way { between, anchors } = &identity.way;
    if anchors.is_empty() {
        assert!(between.is_empty(), "a way that leads nowhere: {between:?}");
        return;
    }
    assert!(!matches!(identity.claim, Claim::Ours(_)), "the registry vouches for ours");
    let reader = Reader::new(&Mqtt::default(), Vec::new(), Arc::default());
    let known = |der: &[u8]| reader.read(&der.into(), &[]).ok();
    assert_eq!(anchors.iter().map(Some).collect::<Vec<_>>(), [known(ROOT).map(|it| it.fingerprint).as_ref()]);
    let shown: Vec<_> = shown.iter().filter_map(|it| known(it)).map(|it| (it.issuer, it.serial_number)).collect();
    assert!(between.iter().all(|it| shown.contains(it)), "{between:?} of {shown:?}");
    match between.last() {
        None => assert_eq!(identity.issuer, ROOT_NAME),
        Some(_) => assert!(between.iter().any(|it| it.0 == ROOT_NAME), "{between:?}"),
    }
}

fn read(leaf: &[u8], shown: &[&[u8]], mapping: CertificateMapping, client_ca_file: &str) -> Option<ClientIdentity> {
    let settings =
        Mqtt { client_ca_file: client_ca_file.into(), client_certificate_mapping: mapping, ..Mqtt::default() };
    let reader = Reader::new(&settings, vec!["CN=mdmq".into()], ANCHORS.clone());
    let shown: Vec<_> = shown.iter().map(|it| (*it).into()).collect();
    reader.read(&leaf.into(), &shown).ok()
}

/// Certificates one behind the other, as far as their lengths say so; the rest is the last.
fn shown(data: &[u8]) -> (&[u8], Vec<&[u8]>) {
    let (leaf, mut rest) = data.split_at(der_bytes(data).unwrap_or(data.len()));
    let mut shown = Vec::new();
    while !rest.is_empty() {
        let (one, more) = rest.split_at(der_bytes(rest).unwrap_or(rest.len()));
        shown.push(one);
        rest = more;
    }
    (leaf, shown)
}

/// Bytes of the value in DER that stands at the front, where it is as long as certificates are.
fn der_bytes(data: &[u8]) -> Option<usize> {
    let [0x30, 0x82, high, low, ..] = data else { return None };
    Some(4 + usize::from(u16::from_be_bytes([*high, *low]))).filter(|it| *it <= data.len())
}

pub fn revocation_list(data: &[u8]) {
    let file = place();
    fs::write(&file, data).expect("room for a list");
    let files = [file.display().to_string()];
    let (of_root, of_nobody) = (ForeignCrls::load(&files, &[ROOT.into()]), ForeignCrls::load(&files, &[]));
    let _ = fs::remove_file(&file);
    assert!(of_nobody.is_err(), "a list that nobody may write");
    // Whatever else was written: only what the authority signed counts.
    if let Ok(lists) = of_root {
        assert!(lists.is_revoked(ROOT_NAME, REVOKED) && !lists.is_revoked(ROOT_NAME, "") && !lists.is_empty());
        assert!(lists.overdue(NOW).is_empty() && !lists.overdue(Timestamp(i64::MAX)).is_empty());
    }
}

/// Whether the list is taken.
#[allow(dead_code, reason = "for the test of the seeds")]
pub fn is_taken(data: &[u8]) -> bool {
    let file = place();
    fs::write(&file, data).expect("room for a list");
    let lists = ForeignCrls::load(&[file.display().to_string()], &[ROOT.into()]);
    let _ = fs::remove_file(&file);
    lists.is_ok()
}

/// A file for this thread.
fn place() -> PathBuf {
    std::env::temp_dir().join(format!("mdmq-fuzz-{}-{:?}.crl", std::process::id(), thread::current().id()))
}
