//! Certificates of devices from the request to the revocation. The registry in the database is the truth; the revocation list and the
//! settings of TLS follow it.

use std::{
    fs::Metadata,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::sync::Notify;
use tracing::{info, warn};

use super::{Flows, administer::Answer, administer::Refused};
use crate::{
    clock::Timestamp,
    config::{ClientCertificates, Config, Mqtt},
    ids::{AgentId, EntityId, Serial},
    mdm::audit::{Action, Actor, Deed, Subject},
    metrics::{Outcome, Reason},
    pki::{
        self, Authority, CertsError,
        foreign::Foreign,
        identity::{Claim, ClientIdentity, Holder, typed_serial_number},
        issue::{Crl, Issued, REASONS, Signer, Signers, Terms},
        request::{self, Request},
    },
    store::{
        StoreError, audit,
        certificate::{self as sql, CertificateFilter, CertificateView, NewCertificate, Revocation, Which},
        db::Tx,
        enroll::AgentRow,
    },
};

mod lists;

/// How long a block of a foreign number that was never seen stays.
const BLOCKED_FOR: Duration = Duration::from_secs(10 * 365 * 86_400);
/// Certificates that end within this time are counted as ending.
const SOON: Duration = Duration::from_secs(14 * 86_400);

/// What signs, and what was revoked.
pub struct Desk {
    authority: Option<Authority>,
    /// Those that are trusted and whose keys are here, the one that signs certificates first; empty while they are off.
    signers: RwLock<Vec<Arc<Signer>>>,
    /// Names of those whose keys are not here.
    silent: RwLock<Vec<String>>,
    /// The list of each signer, in their order.
    crls: RwLock<Vec<Arc<Crl>>>,
    foreign: RwLock<Arc<Foreign>>,
    tended: RwLock<Tended>,
    /// The names of all that are trusted, the one that signs first; empty before they are known.
    authorities: RwLock<Vec<String>>,
    /// Rings when agents changed: the registry may have.
    pub bell: Notify,
}

/// What the last round found.
#[derive(Default, Clone)]
struct Tended {
    at: Option<Timestamp>,
    mark: (i64, i64),
    /// What was read of foreign authorities, and what could not be, which is said once.
    files: Vec<Option<Stamp>>,
    refused: Vec<Option<Stamp>>,
    /// The foreign trust that all connections were held against.
    settled: Arc<Foreign>,
    overdue: Vec<String>,
}

/// A request that was found good, and who signs it.
pub(super) struct Wish {
    signer: Arc<Signer>,
    request: Request,
    terms: Terms,
}

impl Desk {
    /// Reads the authority's key, the foreign authorities and their revocation lists.
    ///
    /// # Errors
    /// Files that cannot be used.
    pub fn open(config: &Config, data_dir: &Path, now: Timestamp) -> Result<Self, CertsError> {
        let is_on = config.mqtt.client_certificates != ClientCertificates::Off;
        let authority = if is_on { Some(Authority::open(data_dir, now)?) } else { None };
        let signer = authority.as_ref().map(Authority::signer).transpose()?.map(Arc::new);
        let signers = RwLock::new(signer.into_iter().collect());
        let files = stamps(&config.mqtt);
        let foreign = Arc::new(if is_on { Foreign::load(&config.mqtt)? } else { Foreign::default() });
        Ok(Self {
            authority,
            signers,
            silent: RwLock::default(),
            crls: RwLock::default(),
            foreign: RwLock::new(foreign.clone()),
            tended: RwLock::new(Tended { files, settled: foreign, ..Tended::default() }),
            authorities: RwLock::default(),
            bell: Notify::new(),
        })
    }

    /// The authority that signs now; `None` while certificates are off.
    pub fn signer(&self) -> Option<Arc<Signer>> {
        self.signers.read().unwrap_or_else(PoisonError::into_inner).first().cloned()
    }

    /// Whether foreign authorities vouch for this certificate no longer.
    pub fn is_fallen(&self, identity: &ClientIdentity) -> bool {
        matches!(identity.claim, Claim::Foreign { .. }) && self.foreign().is_fallen(identity)
    }

    fn foreign(&self) -> Arc<Foreign> {
        self.foreign.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn tended(&self) -> Tended {
        self.tended.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Flows {
    /// Judges a request. `None`: nothing was asked for, or certificates are off.
    ///
    /// # Errors
    /// The words for the device.
    pub(super) fn certificate_wish(&self, csr: &str) -> Result<Option<Wish>, &'static str> {
        let Some(signer) = self.certificates.signer() else { return Ok(None) };
        let request = request::read(csr).map_err(|refused| {
            self.metrics.certificate_requests_refused.get_or_create(&Reason { reason: refused.label() }).inc();
            refused.text()
        })?;
        let terms = Terms {
            now: self.clock.now(),
            life_s: self.config.mqtt.client_certificate_life_s,
            crl_url: lists::url(&self.config.http.public_url, signer.key_id()),
        };
        Ok(request.map(|request| Wish { signer, request, terms }))
    }

    /// Gives an enrolled agent a new certificate. The one before is taken until the end of the overlap.
    ///
    /// # Errors
    /// The database failed.
    pub async fn renew_certificate(&self, agent: &AgentRow, csr: &str) -> Result<Result<String, String>, StoreError> {
        let not_signed = |why: &str| Ok(Err(format!("Failed to sign the certificate: {why}")));
        if !self.may_renew(agent.id) {
            self.metrics.certificate_requests_refused.get_or_create(&Reason { reason: "hurried" }).inc();
            return not_signed("too many requests within an hour");
        }
        let wish = match self.certificate_wish(csr) {
            Ok(Some(wish)) => wish,
            Ok(None) if self.certificates.signer().is_none() => return not_signed("this server issues none"),
            Ok(None) => return not_signed("the request is empty"),
            Err(why) => return not_signed(why),
        };
        let Ok(serial) = Serial::parse(&agent.serial) else { return not_signed("the device has no usable serial") };
        let holder = Holder { agent: agent.id, entity: agent.topic_entity, serial };
        let overlap = Duration::from_secs(self.config.mqtt.client_certificate_overlap_s.into());
        let (id, until) = (agent.id, wish.terms.now.after(overlap));
        let story = self.store.write(move |tx| {
            Box::pin(async move {
                if sql::is_barred(tx, id).await? {
                    return Ok(None);
                }
                issue(tx, &wish, &holder, until).await.map(|it| Some(it.pem))
            })
        });
        let Some(pem) = story.await? else {
            self.metrics.certificate_requests_refused.get_or_create(&Reason { reason: "revoked" }).inc();
            return not_signed("the certificate of this device was revoked; it has to enroll again");
        };
        self.count_certificates("renewed", 1);
        // Its connection may hold a certificate whose end has moved.
        self.agents_changed(&[id]);
        Ok(Ok(pem))
    }

    /// Revokes the certificate with this number, or all of the device with this serial (in this entity, where several have one).
    /// Connections that came in with them close.
    ///
    /// # Errors
    /// The database failed.
    pub async fn revoke_certificates(&self, which: &str, entity: Option<EntityId>, reason: &str) -> Answer<Revocation> {
        if let Err(refused) = known_reason(reason) {
            return Ok(Err(refused));
        }
        let number = typed_serial_number(which);
        let named = || Which::Named { number: number.clone(), serial: which.to_owned(), entity };
        let mut done = self.revoke(named(), reason).await?;
        if !done.ambiguous.is_empty() {
            return Ok(Err(ambiguous(which, &done.ambiguous)));
        }
        if done.known == 0 {
            // Certificates of a foreign authority have no row before they were seen. But whoever writes the name of a device means it.
            let is_foreign = entity.is_none()
                && !self.config.mqtt.client_ca_file.is_empty()
                && (which.contains(':') || self.store.agents_at(which, None).await?.is_empty());
            let Some(number) = number.clone().filter(|_| is_foreign) else {
                let place = entity.map_or(String::new(), |it| format!(" in entity {it}"));
                return Ok(Err(Refused::Absent(format!(
                    "there is no certificate with the number or for the device {which}{place}"
                ))));
            };
            let (blocked, why, at) = (number.clone(), reason.to_owned(), self.clock.now());
            let until = at.after(BLOCKED_FOR);
            self.store
                .write(move |tx| Box::pin(async move { sql::block(tx, &blocked, &why, at, until).await }))
                .await?;
            // Somebody may be coming in with it right now: whoever has a seat has a row, and whoever has none looks again.
            self.hub.rights_changed();
            done = self.revoke(named(), reason).await?;
            if done.serial_numbers.is_empty() {
                self.count_certificates("revoked", 1);
                done.serial_numbers.push(number);
            }
        }
        Ok(Ok(done))
    }

    /// Revokes everything that the built-in authority signed for devices: its key is in other hands.
    ///
    /// # Errors
    /// The database failed.
    pub async fn revoke_all_certificates(&self, reason: &str) -> Answer<Revocation> {
        match known_reason(reason) {
            Ok(()) => Ok(Ok(self.revoke(Which::AllOfOurs, reason).await?)),
            Err(refused) => Ok(Err(refused)),
        }
    }

    async fn revoke(&self, which: Which, reason: &str) -> Result<Revocation, StoreError> {
        let done = self.store.revoke_certificates(which, reason.to_owned(), self.clock.now()).await?;
        if !done.serial_numbers.is_empty() {
            info!("revoked {} certificates: {reason}", done.serial_numbers.len());
        }
        self.count_certificates("revoked", done.serial_numbers.len());
        self.agents_changed(&done.agents);
        for name in &done.accounts {
            // Which of its connections came in with it is not remembered: they are few, and come back with what they still have.
            if let Some(account) = self.store.account_named(name).await? {
                self.hub.revoke_account(account);
            }
        }
        Ok(done)
    }

    /// The certificate with this number, or those of the device with this serial.
    ///
    /// # Errors
    /// The database failed.
    pub async fn certificates_named(&self, which: &str) -> Result<Vec<CertificateView>, StoreError> {
        if let Some(number) = typed_serial_number(which) {
            let filter =
                CertificateFilter { serial_number: Some(number), with_pem: true, ..CertificateFilter::default() };
            let found = self.store.certificates(&filter).await?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        let filter =
            CertificateFilter { serial: Some(which.to_owned()), with_pem: true, ..CertificateFilter::default() };
        self.store.certificates(&filter).await
    }

    /// Regular work: ends, revocations, and lists that changed. True: TLS should read the lists again.
    ///
    /// # Errors
    /// The database failed.
    pub async fn tend_certificates(&self) -> Result<bool, StoreError> {
        let Some(authority) = &self.certificates.authority else { return Ok(false) };
        let (now, before) = (self.clock.now(), self.certificates.tended());
        if let Some(last) = before.at {
            let ended = self.store.certificates_ended(last, now).await?;
            if ended.contains(&None) {
                self.hub.services_changed();
            }
            let agents: Vec<AgentId> = ended.into_iter().flatten().collect();
            if !agents.is_empty() {
                self.agents_changed(&agents);
            }
        }
        self.store.prune_certificates(now).await?;
        let mut files = stamps(&self.config.mqtt);
        let (mut has_foreign, mut refused) = (false, Vec::new());
        if files != before.files || before.at.is_none() {
            has_foreign = self.read_foreign(&before.settled, files != before.refused).await?;
            if !has_foreign {
                // Read again each time: what is wrong may not be in the files.
                (refused, files) = (files, before.files);
            }
        }
        let mark = self.store.revocations_mark().await?;
        let has_own =
            (mark != before.mark || self.certificates.are_lists_due(now)) && self.sign_lists(authority, now).await?;
        let overdue = self.overdue_lists(&before.overdue, now);
        let settled = self.certificates.foreign();
        let tended = Tended { at: Some(now), mark, files, refused, settled, overdue };
        *self.certificates.tended.write().unwrap_or_else(PoisonError::into_inner) = tended;
        Ok(has_foreign || has_own)
    }

    fn overdue_lists(&self, known: &[String], now: Timestamp) -> Vec<String> {
        let overdue = self.certificates.foreign().lists().overdue(now);
        for file in overdue.iter().filter(|it| !known.contains(it)) {
            warn!("the revocation list {file} should have been replaced by now; what it revokes stays revoked");
        }
        self.metrics.certificate_lists_overdue.set(overdue.len() as i64);
        overdue
    }

    /// Signs with the authority that signs now, and lists with every other that is trusted; revokes what was signed by one that is no
    /// longer trusted.
    ///
    /// # Errors
    /// The database failed, or the authority's files are damaged.
    pub async fn follow_authority(&self) -> Result<(), StoreError> {
        let Some(authority) = &self.certificates.authority else { return Ok(()) };
        let damaged = |problem: CertsError| StoreError::Disk(problem.to_string());
        let Signers { ready, silent } = authority.signers().map_err(damaged)?;
        let trusted = authority.trusted().and_then(|it| pki::subjects(&it)).map_err(damaged)?;
        if let Some(signer) = ready.first() {
            self.note_authorities(signer.name(), &trusted).await?;
        }
        *self.certificates.signers.write().unwrap_or_else(PoisonError::into_inner) =
            ready.into_iter().map(Arc::new).collect();
        self.certificates.note_silent(silent);
        loop {
            let done = self.revoke(Which::NotSignedBy(trusted.clone()), "ca_compromise").await?;
            if done.serial_numbers.is_empty() {
                return Ok(());
            }
            warn!("revoked {} certificates of an authority that is no longer trusted", done.serial_numbers.len());
        }
    }

    /// Files say who signs, not a request: what changes while the server runs is written down as its own deed.
    async fn note_authorities(&self, signer: &str, trusted: &[String]) -> Result<(), StoreError> {
        let others = trusted.iter().map(String::as_str).filter(|it| *it != signer);
        let now: Vec<String> = [signer].into_iter().chain(others).map(Into::into).collect();
        let before = self.certificates.authorities.read().unwrap_or_else(PoisonError::into_inner).clone();
        if !before.is_empty() && before != now {
            let deed = Deed::to(Action::AuthorityChange, Subject::Certificate, signer);
            let deed = deed.with("trusted", now.clone()).with("before", before).by(Actor::SYSTEM);
            self.store.audit(deed).await?;
        }
        *self.certificates.authorities.write().unwrap_or_else(PoisonError::into_inner) = now;
        Ok(())
    }

    /// Takes over who the foreign authorities are and what their lists say about certificates that were seen here. False: they cannot be
    /// read, which is said where it is news.
    async fn read_foreign(&self, settled: &Foreign, is_news: bool) -> Result<bool, StoreError> {
        let now = match Foreign::load(&self.config.mqtt) {
            Ok(now) => Arc::new(now),
            Err(problem) if is_news => {
                warn!("the former authorities and revocation lists stay: {problem}");
                return Ok(false);
            }
            Err(_) => return Ok(false),
        };
        *self.certificates.foreign.write().unwrap_or_else(PoisonError::into_inner) = now.clone();
        if now.is_stricter_than(settled) {
            self.hub.services_changed();
            self.agents_changed(&self.store.agents_with_foreign_certificates().await?);
        }
        let lists = now.lists();
        if lists.is_empty() {
            return Ok(true);
        }
        let seen = self.store.seen_certificates().await?;
        for (issuer, number) in seen.into_iter().filter(|(issuer, number)| lists.is_revoked(issuer, number)) {
            self.revoke(Which::Foreign { issuer, number }, "unspecified").await?;
        }
        Ok(true)
    }

    /// When a device should ask for its next certificate: after two thirds of the life of this one.
    pub fn renew_after(&self, certificate: &str) -> Option<Timestamp> {
        let (from, to) = pki::life(certificate)?;
        Some(Timestamp(from.0 + (to.0 - from.0) / 3 * 2))
    }

    /// Certificates that are taken now, and those of them that end within two weeks.
    pub(super) async fn certificate_counts(&self) -> Result<(i64, i64), StoreError> {
        let now = self.clock.now();
        self.store.certificate_counts(now, now.after(SOON)).await
    }

    pub(super) fn count_certificates(&self, outcome: &'static str, count: usize) {
        self.metrics.certificates.get_or_create(&Outcome { outcome }).inc_by(count as u64);
    }
}

/// Signs for a new agent, inside the transaction that makes it.
pub(super) async fn issue_first(
    tx: &mut Tx,
    wish: &Wish,
    agent: AgentId,
    entity: EntityId,
    serial: &Serial,
) -> Result<(), StoreError> {
    let holder = Holder { agent, entity, serial: serial.clone() };
    issue(tx, wish, &holder, wish.terms.now).await.map(drop)
}

async fn issue(tx: &mut Tx, wish: &Wish, holder: &Holder, overlap_until: Timestamp) -> Result<Issued, StoreError> {
    let issued = wish
        .signer
        .issue_client(&wish.request, holder, &wish.terms)
        .map_err(|problem| StoreError::Disk(problem.to_string()))?;
    let new = NewCertificate {
        serial_number: issued.serial_number.clone(),
        fingerprint: issued.fingerprint.clone(),
        issuer: wish.signer.name().to_owned(),
        is_foreign: false,
        agent: Some(holder.agent),
        entity: Some(holder.entity),
        serial: holder.serial.as_str().to_owned(),
        issued_at: wish.terms.now,
        not_before: issued.not_before,
        not_after: issued.not_after,
        pem: issued.pem.clone(),
    };
    sql::replace(tx, &new, overlap_until).await?;
    let deed = Deed::to(Action::CertificateIssue, Subject::Certificate, &issued.serial_number)
        .in_entity(holder.entity)
        .with_serial(holder.serial.as_str());
    audit::append(tx, deed.with("agent", holder.agent.0)).await?;
    Ok(issued)
}

fn ambiguous(serial: &str, entities: &[Option<EntityId>]) -> Refused {
    let places = entities.iter().map(|it| match it {
        Some(entity) => entity.to_string(),
        None => "none (a back end: revoke by the number)".into(),
    });
    let places = places.collect::<Vec<_>>().join(", ");
    Refused::Conflict(format!("several entities have certificates for {serial}; say which with --entity: {places}"))
}

fn known_reason(reason: &str) -> Result<(), Refused> {
    if REASONS.iter().any(|(word, _)| *word == reason) {
        return Ok(());
    }
    let words: Vec<&str> = REASONS.iter().map(|(word, _)| *word).collect();
    Err(Refused::Invalid(format!("the reason is one of {}", words.join(", "))))
}

/// What tells one state of a file from another: its number, and the times (s, ns) of its content and of its name and permissions.
type Stamp = (u64, [(i64, i64); 2]);

/// The files of foreign authorities and their lists, as they are now.
fn stamps(settings: &Mqtt) -> Vec<Option<Stamp>> {
    let stamp = |it: Metadata| (it.ino(), [(it.mtime(), it.mtime_nsec()), (it.ctime(), it.ctime_nsec())]);
    let files = settings.client_crl_files.iter().chain([&settings.client_ca_file]);
    files.map(|file| std::fs::metadata(file).map(stamp).ok()).collect()
}
