//! The lists of revoked certificates, one of each authority of ours that is trusted: a list of one says nothing about what another
//! signed. Foreign lists are elsewhere.

use std::sync::{Arc, PoisonError};

use tracing::{info, warn};

use super::Desk;
use crate::{
    clock::Timestamp,
    flows::Flows,
    pki::{
        Authority,
        issue::{CRL_LIFE, Crl, Revoked, Signer, Silent},
    },
    store::StoreError,
};

/// Lists are signed anew so long before they end.
const CRL_AHEAD_MS: i64 = CRL_LIFE.as_millis() as i64 / 2;

impl Desk {
    /// The list of the authority that signs now, as it was last signed.
    pub fn crl(&self) -> Option<Arc<Crl>> {
        self.crls().into_iter().next()
    }

    /// The list of the authority whose key has this identifier.
    pub fn crl_of(&self, key_id: &str) -> Option<Arc<Crl>> {
        self.crls().into_iter().find(|it| it.key_id.eq_ignore_ascii_case(key_id))
    }

    /// All lists as text, that of the authority that signs now first; empty where there is none.
    pub fn crls_pem(&self) -> Vec<u8> {
        as_text(&self.crls())
    }

    fn crls(&self) -> Vec<Arc<Crl>> {
        self.crls.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn signers(&self) -> Vec<Arc<Signer>> {
        self.signers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a list is about to end, or somebody else should have signed it.
    pub(super) fn are_lists_due(&self, now: Timestamp) -> bool {
        let (crls, signers) = (self.crls(), self.signers());
        crls.iter().any(|it| it.next_update.0 - now.0 < CRL_AHEAD_MS)
            || !crls.iter().map(|it| it.key_id.as_str()).eq(signers.iter().map(|it| it.key_id()))
    }

    /// Says once which authorities can sign no list, and why.
    pub(super) fn note_silent(&self, silent: Vec<Silent>) {
        let mut known = self.silent.write().unwrap_or_else(PoisonError::into_inner);
        for Silent { name, why } in silent.iter().filter(|it| !known.contains(&it.name)) {
            warn!(
                "there is no revocation list of {name}: {why}; what is revoked of its certificates is refused at CONNECT only, until \
                 mdmq certs rotate --retire"
            );
        }
        *known = silent.into_iter().map(|it| it.name).collect();
    }
}

impl Flows {
    /// Signs every list, writes them to the file that TLS reads, and hands them out from then on.
    pub(super) async fn sign_lists(&self, authority: &Authority, now: Timestamp) -> Result<bool, StoreError> {
        let (mut crls, mut count) = (Vec::new(), 0);
        for signer in self.certificates.signers() {
            let rows = self.store.revoked_certificates(signer.name(), now).await?;
            let line = |(serial_number, at, reason)| Revoked { serial_number, at, reason };
            let revoked: Vec<Revoked> = rows.into_iter().map(line).collect();
            count += revoked.len();
            crls.push(Arc::new(signer.crl(&revoked, now).map_err(|problem| StoreError::Disk(problem.to_string()))?));
        }
        let lists = crls.len();
        authority.write_crls(&as_text(&crls)).map_err(|problem| StoreError::Disk(problem.to_string()))?;
        *self.certificates.crls.write().unwrap_or_else(PoisonError::into_inner) = crls;
        info!("signed the lists of {count} revoked certificates, of {lists} authorities");
        Ok(true)
    }
}

fn as_text(crls: &[Arc<Crl>]) -> Vec<u8> {
    crls.iter().flat_map(|it| it.pem.to_vec()).collect()
}

/// Where the list of an authority is found for as long as it is trusted, unless only this machine would find it. `/crl` alone would be the
/// wrong place: what stands there is signed by somebody else once the next authority signs, and says nothing about this certificate
/// then (RFC 5280 §6.3.3).
pub(super) fn url(public_url: &str, key_id: &str) -> Option<String> {
    let host = public_url.split_once("://")?.1;
    let is_local = ["localhost", "127.", "[::1]"].iter().any(|it| host.starts_with(it));
    let is_plain = public_url.bytes().all(|it| it.is_ascii_graphic());
    (!is_local && is_plain).then(|| format!("{public_url}/crl/{key_id}"))
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::Ordering, time::Duration};

    use x509_parser::prelude::{CertificateRevocationList, FromDer};

    use super::*;
    use crate::flows::admit::tests::World;

    #[tokio::test]
    async fn a_list_is_signed_anew_at_half_of_its_life() {
        let world = World::new().await;
        let flows = &world.flows;
        assert!(flows.tend_certificates().await.unwrap(), "the first one");
        let first = flows.certificates.crl().unwrap();
        let half_ms = Duration::from_secs(7 * 86_400 / 2).as_millis() as i64;
        world.now.fetch_add(half_ms, Ordering::Relaxed);
        assert!(!flows.tend_certificates().await.unwrap(), "not before");
        assert_eq!(flows.certificates.crl().unwrap().der, first.der);
        world.now.fetch_add(1, Ordering::Relaxed);
        assert!(flows.tend_certificates().await.unwrap(), "TLS should read it");
        let second = flows.certificates.crl().unwrap();
        assert_eq!(second.next_update.0 - first.next_update.0, half_ms + 1);
        let parsed = |it: &Crl| {
            let (_, list) = CertificateRevocationList::from_der(&it.der).unwrap();
            (
                list.last_update().timestamp(),
                list.next_update().unwrap().timestamp(),
                list.crl_number().unwrap().clone(),
            )
        };
        let (before, after) = (parsed(&first), parsed(&second));
        assert!(after.0 < before.1, "while the former one may still be believed");
        assert!(after.0 > before.0 && after.1 > before.1 && after.2 > before.2);
        assert!(!flows.tend_certificates().await.unwrap(), "once");
    }

    #[tokio::test]
    async fn each_authority_that_is_trusted_signs_its_own_list_until_it_is_retired() {
        let world = World::new().await;
        let flows = &world.flows;
        let authority = flows.certificates.authority.clone().unwrap();
        let tend = async || {
            flows.follow_authority().await.unwrap();
            flows.tend_certificates().await.unwrap()
        };
        let ids = || flows.certificates.crls().iter().map(|it| it.key_id.clone()).collect::<Vec<_>>();
        assert!(tend().await);
        let [first] = &ids()[..] else { panic!("one authority") };
        authority.prepare_next(flows.clock.now()).unwrap();
        assert!(tend().await, "whoever is trusted has a list, were it empty");
        authority.activate_next().unwrap();
        assert!(tend().await);
        let [signing, former] = &ids()[..] else { panic!("two authorities") };
        assert_eq!(former, first);
        assert_eq!(&flows.certificates.crl().unwrap().key_id, signing);
        assert_eq!(&flows.certificates.crl_of(&former.to_uppercase()).unwrap().key_id, former);
        let text = String::from_utf8(flows.certificates.crls_pem()).unwrap();
        assert_eq!(text.matches("BEGIN X509 CRL").count(), 2);
        assert!(!tend().await, "nothing changed");
        authority.retire_former().unwrap();
        assert!(tend().await);
        assert_eq!(&ids(), std::slice::from_ref(signing));
        assert!(flows.certificates.crl_of(former).is_none());
    }

    #[test]
    fn certificates_say_where_the_list_is_only_when_others_can_find_it() {
        assert_eq!(url("https://mdm.example/api", "4a").as_deref(), Some("https://mdm.example/api/crl/4a"));
        for public in ["http://localhost:8080", "http://127.0.0.1:1", "http://[::1]:1", "", "http://mdm.exämple"] {
            assert_eq!(url(public, "4a"), None, "{public}");
        }
    }
}
