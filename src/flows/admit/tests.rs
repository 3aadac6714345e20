//! What a certificate opens, by a clock that the test moves: TLS verified it at some time, perhaps long ago.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::{Admission, Caller, Device, Proof, Verdict};
use crate::{
    broker::{
        hub::Hub,
        outbox::{Eviction, Outbox, OutboxBounds},
        places::SessionBounds,
        retained::Retained,
    },
    clock::{Clock, Timestamp},
    config::{Config, Database},
    flows::{
        Flows, SecretKey, certificates::Desk, files::Traffic, passwords::Passwords, policies::Policies,
        settled::Settled,
    },
    ids::{AgentId, CredentialId, EntityId, Serial},
    metrics::{Metrics, Outcome},
    mqtt::packet::{Connect, ConnectCode, Version},
    pki::{
        identity::{Claim, ClientIdentity, Holder, Reader},
        path::Anchor,
    },
    store::Store,
};

const START_MS: i64 = 1_790_000_000_000;
const DAY_MS: i64 = 86_400_000;
const PATIENCE: Duration = Duration::from_secs(10);

/// Flows with a database of their own and a clock that the test moves; AZERTY and QWERTY are enrolled.
pub(in crate::flows) struct World {
    pub(in crate::flows) flows: Arc<Flows>,
    pub(in crate::flows) now: Arc<AtomicI64>,
    _data: tempfile::TempDir,
}

impl World {
    pub(in crate::flows) async fn new() -> World {
        World::with(|_, _| {}).await
    }

    /// With settings of its own, and files in its directory.
    async fn with(prepare: impl FnOnce(&mut Config, &Path)) -> World {
        let (data, mut config) = (tempfile::tempdir().unwrap(), Config::default());
        prepare(&mut config, data.path());
        let now = Arc::new(AtomicI64::new(START_MS));
        let clock = Clock::Manual(now.clone());
        let secret_key = SecretKey::random();
        let store = Store::open(&Database::default(), data.path(), clock.clone(), secret_key.audit_key(), |_| {})
            .await
            .unwrap();
        let flows = Arc::new(Flows {
            store,
            hub: Hub::new(1, SessionBounds { sessions_max: 10, per_account_max: 10 }, Retained::new(10, 1000)),
            clock,
            metrics: Arc::new(Metrics::default()),
            traffic: Traffic::new(&config.files),
            audit_watch: crate::flows::audit::Watch::new(data.path()),
            guard: crate::flows::guard::Guard::new(&config, Clock::System.instant()),
            certificates: Desk::open(&config, data.path(), Timestamp(START_MS)).unwrap(),
            config: Arc::new(config),
            secret_key,
            told: std::sync::OnceLock::new(),
            policies: Policies::default(),
            doubts: Arc::default(),
            settled: Settled::default(),
            mail_waits: tokio::sync::Notify::new(),
            passwords: Passwords::default(),
            is_stopping: std::sync::atomic::AtomicBool::new(false),
        });
        let staged = "entity,serial,mqttpasswd\n0,AZERTY,secret of AZERTY\n0,QWERTY,secret of QWERTY\n";
        assert_eq!(flows.import_agents(staged.as_bytes()).await.unwrap().unwrap(), 2);
        World { flows, now, _data: data }
    }

    /// A certificate for AZERTY, as TLS hands it over.
    async fn certificate(&self) -> ClientIdentity {
        let agent = self.flows.store.agents_at("AZERTY", None).await.unwrap()[0].agent.id;
        let agent = self.flows.agent(agent).await.unwrap().unwrap();
        let csr = CertificateParams::default().serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
        let pem = self.flows.renew_certificate(&agent, &csr).await.unwrap().unwrap();
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        Reader::new(&self.flows.config.mqtt, Vec::new(), Arc::default()).read(&der, &[]).unwrap()
    }

    /// What becomes of a CONNECT, and under which name it is counted.
    async fn check(
        &self,
        identity: &ClientIdentity,
        login: (&str, &str),
        expected: ConnectCode,
        counted: &'static str,
    ) {
        let counter = self.flows.metrics.certificate_logins.get_or_create_owned(&Outcome { outcome: counted });
        let before = counter.get();
        let text = |it: &str| (!it.is_empty()).then(|| it.to_owned());
        let connect = Connect {
            version: Version::V3_1_1,
            client_id: "c".into(),
            clean_session: true,
            keep_alive_s: 60,
            will: None,
            username: text(login.0),
            password: text(login.1).map(Into::into),
        };
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let caller = Caller { address, certificate: Some(Arc::new(identity.clone())) };
        let code = match self.flows.admit(&connect, &caller, &outbox()).await {
            Verdict::Welcome(_) => ConnectCode::Accepted,
            Verdict::Refused(code) => code,
        };
        assert_eq!((code, counter.get() - before), (expected, 1), "{counted}");
    }

    /// Waits until the row of this agent shows it online, or offline.
    async fn shows(&self, agent: AgentId, is_online: bool) {
        let shown = async || {
            let rows = self.flows.store.presence_after(None, 10).await.unwrap();
            rows.iter().any(|it| it.agent == agent && it.is_online == is_online)
        };
        let waiting = async {
            while !shown().await {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the row says so in time");
    }

    fn move_clock_to(&self, at: i64) {
        self.now.store(at, Ordering::Relaxed);
    }
}

fn outbox() -> Arc<Outbox> {
    Arc::new(Outbox::new(OutboxBounds { messages_max: 10, bytes_max: 1000 }))
}

const NOBODY: (&str, &str) = ("", "");

#[tokio::test]
async fn a_certificate_is_good_while_it_lives_whatever_tls_believed() {
    let world = World::new().await;
    let identity = world.certificate().await;
    world.check(&identity, NOBODY, ConnectCode::Accepted, "accepted").await;
    world.move_clock_to(identity.not_before.0 - 1);
    world.check(&identity, NOBODY, ConnectCode::NotAuthorized, "not_yet_valid").await;
    world.move_clock_to(identity.not_after.0 - 1);
    world.check(&identity, NOBODY, ConnectCode::Accepted, "accepted").await;
    world.move_clock_to(identity.not_after.0 + 1);
    world.check(&identity, NOBODY, ConnectCode::NotAuthorized, "expired").await;
}

#[tokio::test]
async fn an_old_certificate_is_good_until_the_end_of_the_overlap() {
    let world = World::new().await;
    let old = world.certificate().await;
    let new = world.certificate().await;
    world.move_clock_to(START_MS + 7 * DAY_MS - 1);
    world.check(&old, NOBODY, ConnectCode::Accepted, "accepted").await;
    world.move_clock_to(START_MS + 7 * DAY_MS);
    world.check(&old, NOBODY, ConnectCode::NotAuthorized, "expired").await;
    world.check(&new, NOBODY, ConnectCode::Accepted, "accepted").await;
}

#[tokio::test]
async fn what_the_registry_says_counts() {
    let world = World::new().await;
    let identity = world.certificate().await;
    let Claim::Ours(holder) = identity.claim.clone() else { panic!("{:?}", identity.claim) };
    let claiming = |claim: Claim| ClientIdentity { claim, ..identity.clone() };
    let serial = |text: &str| Serial::parse(text).unwrap();
    for other in [
        Holder { agent: AgentId(holder.agent.0 + 1), ..holder.clone() },
        Holder { entity: EntityId(76), ..holder.clone() },
        Holder { serial: serial("QWERTY"), ..holder.clone() },
    ] {
        world.check(&claiming(Claim::Ours(other)), NOBODY, ConnectCode::NotAuthorized, "mismatch").await;
    }
    world.check(&claiming(Claim::Nobody), NOBODY, ConnectCode::NotAuthorized, "no_device").await;
    let unknown = ClientIdentity { fingerprint: "00".into(), ..identity.clone() };
    world.check(&unknown, NOBODY, ConnectCode::NotAuthorized, "unknown").await;
    for (login, code, counted) in [
        (("AZERTY", ""), ConnectCode::Accepted, "accepted"),
        (("AZERTY", "secret of AZERTY"), ConnectCode::Accepted, "accepted"),
        (("AZERTY", "secret of QWERTY"), ConnectCode::BadCredentials, "bad_password"),
        (("QWERTY", "secret of QWERTY"), ConnectCode::NotAuthorized, "mismatch"),
        (("QWERTY", ""), ConnectCode::NotAuthorized, "mismatch"),
    ] {
        world.check(&identity, login, code, counted).await;
    }
    world.flows.revoke_certificates("AZERTY", None, "key_compromise").await.unwrap().unwrap();
    world.check(&identity, NOBODY, ConnectCode::NotAuthorized, "revoked").await;
    world.check(&identity, ("AZERTY", "secret of AZERTY"), ConnectCode::NotAuthorized, "revoked").await;
}

#[tokio::test]
async fn a_connection_that_is_refused_after_it_took_the_place_of_another_leaves_the_device_offline() {
    let world = World::new().await;
    let flows = &world.flows;
    let agent = flows.store.agents_at("AZERTY", None).await.unwrap()[0].agent.clone();
    let device = |credential| Device {
        agent: agent.clone(),
        proof: Proof { credential, certificate: None },
        has_older_credentials: false,
        has_open_commands: false,
        has_removals: false,
    };
    let first = outbox();
    let verdict = flows.admit_device(device(None), flows.hub.changes(), &first).await.unwrap();
    assert!(matches!(verdict, Verdict::Welcome(_)));
    world.shows(agent.id, true).await;
    // Its password ended between the look-up and the registration.
    let changes_before = flows.hub.changes();
    flows.agents_changed(&[agent.id]);
    let verdict = flows.admit_device(device(Some(CredentialId(999))), changes_before, &outbox()).await.unwrap();
    assert!(matches!(verdict, Verdict::Refused(ConnectCode::BadCredentials)));
    assert_eq!(first.take().eviction, Some(Eviction::Takeover), "so it writes nothing when it leaves");
    world.shows(agent.id, false).await;
}

impl World {
    /// An account of a back end that has been let in, and has no seat yet.
    async fn let_in_backend(&self, certificate: Option<ClientIdentity>) -> (Box<Admission>, Connect) {
        let opened = self.flows.open_account("backend", &["#:rw".into()], None).await.unwrap().unwrap();
        let connect = Connect {
            version: Version::V3_1_1,
            client_id: "archive".into(),
            clean_session: false,
            keep_alive_s: 60,
            will: None,
            username: Some(opened.name),
            password: Some(opened.password.as_bytes().to_vec().into()),
        };
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let caller = Caller { address, certificate: certificate.map(Arc::new) };
        match self.flows.admit(&connect, &caller, &outbox()).await {
            Verdict::Welcome(admission) => (admission, connect),
            Verdict::Refused(code) => panic!("{code:?}"),
        }
    }

    async fn seats(&self, (admission, mut connect): (Box<Admission>, Connect)) -> Result<(), ConnectCode> {
        self.flows.seat(*admission, &mut connect, &outbox()).await.map(drop)
    }
}

#[tokio::test]
async fn an_account_that_is_removed_between_its_login_and_its_seat_gets_no_session() {
    let world = World::new().await;
    let backend = world.let_in_backend(None).await;
    world.flows.close_account("backend").await.unwrap().unwrap();
    assert_eq!(world.seats(backend).await, Err(ConnectCode::BadCredentials));
    assert_eq!((world.flows.hub.sessions(), world.flows.hub.persistent_sessions()), (0, 0));
    // Another account of the same name is another account.
    let backend = world.let_in_backend(None).await;
    world.flows.close_account("backend").await.unwrap().unwrap();
    world.flows.open_account("backend", &["#:rw".into()], None).await.unwrap().unwrap();
    assert_eq!(world.seats(backend).await, Err(ConnectCode::BadCredentials));
}

#[tokio::test]
async fn an_account_that_others_changes_do_not_concern_gets_its_seat() {
    let world = World::new().await;
    let backend = world.let_in_backend(None).await;
    world.flows.hub.rights_changed();
    assert_eq!(world.seats(backend).await, Ok(()));
}

#[tokio::test]
async fn a_certificate_that_is_revoked_between_login_and_seat_gets_no_session() {
    let mut theirs = CertificateParams::default();
    theirs.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    theirs.distinguished_name.push(DnType::CommonName, "Theirs");
    let key = KeyPair::generate().unwrap();
    let authority = theirs.self_signed(&key).unwrap();
    let world = World::with(|config, data| {
        let file = data.join("theirs.pem");
        std::fs::write(&file, authority.pem()).unwrap();
        config.mqtt.client_ca_file = file.display().to_string();
    })
    .await;
    let (mut leaf, leaf_key) = (CertificateParams::default(), KeyPair::generate().unwrap());
    leaf.distinguished_name.push(DnType::CommonName, "backend");
    leaf.not_before = date_time_ymd(2026, 1, 1);
    let leaf = leaf.signed_by(&leaf_key, &Issuer::new(theirs, key)).unwrap();
    let anchors = [Anchor::read(authority.der()).unwrap()].into();
    let identity = Reader::new(&world.flows.config.mqtt, Vec::new(), anchors).read(leaf.der(), &[]).unwrap();
    let number = identity.serial_number.clone();
    let backend = world.let_in_backend(Some(identity)).await;
    world.flows.revoke_certificates(&number, None, "key_compromise").await.unwrap().unwrap();
    assert_eq!(world.seats(backend).await, Err(ConnectCode::BadCredentials));
    assert_eq!(world.flows.hub.sessions(), 0);
}
