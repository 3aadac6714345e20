//! What all simulated devices share, and what each shows of itself to the simulated administrator. No decisions.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore,
    client::WantsClientCert,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject},
};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsConnector;

use super::{
    device::{Device, HttpReport, Profile},
    enroll::{self, Refused, Settings},
    figures::Figures,
};
use crate::clock::Clock;

/// HTTP reports of all devices that may wait for their turn.
const HTTP_REPORTS_MAX: usize = 20_000;
/// HTTP reports under way at once.
const HTTP_REPORTS_AT_ONCE_MAX: usize = 64;

/// What all devices share.
pub struct World {
    /// Counters and measurements.
    pub figures: Figures,
    /// Time.
    pub clock: Clock,
    /// One client, one pool of connections.
    pub http: reqwest::Client,
    /// Trusts the server's own certificate authority.
    pub tls: TlsConnector,
    roots: Arc<RootCertStore>,
    /// CONNECTs under way at once.
    pub connecting: Semaphore,
    /// The server has no endpoint for geolocations over HTTP.
    pub geolocation_is_absent: AtomicBool,
    reporting: Semaphore,
    reports_waiting: AtomicUsize,
}

/// A locked screen in [`Live`].
pub const LOCKED: u8 = 1;
/// A screen that was unlocked.
pub const UNLOCKED: u8 = 2;

/// What a device shows of itself.
#[derive(Debug, Default)]
pub struct Live {
    /// Accepted and subscribed.
    pub is_connected: AtomicBool,
    /// The retained Command/Subscribe arrived on this connection.
    pub heard_fleet: AtomicBool,
    /// Screen as heard on this connection: 0 nothing, [`LOCKED`] or [`UNLOCKED`].
    pub screen: AtomicU8,
    /// Screen as the administrator wished last, in the same numbers.
    pub wish: AtomicU8,
    /// A lock or unlock is on its way.
    pub is_wishing: AtomicBool,
    /// Connections so far.
    pub connections: AtomicU64,
    /// It erased its data.
    pub is_forgotten: AtomicBool,
}

impl Live {
    /// Connected, subscribed, and told again all that it must know.
    pub fn is_settled(&self) -> bool {
        let wish = self.wish.load(Relaxed);
        self.is_connected.load(Relaxed)
            && self.heard_fleet.load(Relaxed)
            && (wish == 0 || self.screen.load(Relaxed) == wish)
    }

    /// Nothing is known of a new connection yet.
    pub fn reset(&self) {
        self.is_connected.store(false, Relaxed);
        self.heard_fleet.store(false, Relaxed);
        self.screen.store(0, Relaxed);
    }
}

/// What happens to a device from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Its connection is cut without DISCONNECT; it comes back after a while.
    Cut {
        /// How long it stays away.
        away: Duration,
        /// Whether the agent starts anew, with another client id.
        restarted: bool,
    },
    /// It changes networks: connects again while the old connection still stands.
    Takeover,
}

/// One enrolled device.
#[derive(Clone)]
pub struct Member {
    /// Which agent it runs.
    pub profile: Profile,
    /// Its agent id.
    pub id: i64,
    /// What it shows.
    pub live: Arc<Live>,
    /// What may happen to it.
    pub orders: mpsc::Sender<Order>,
}

impl World {
    /// A world that trusts the certificate authority in `data_dir/certs/ca.pem`, if there is one.
    ///
    /// # Errors
    /// A certificate that cannot be read.
    pub fn new(data_dir: &Path, connects_at_once_max: usize) -> anyhow::Result<World> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(128)
            .timeout(Duration::from_secs(60))
            .build()
            .context("preparing the HTTP client")?;
        let roots = Arc::new(trusted(&data_dir.join("certs/ca.pem"))?);
        Ok(World {
            figures: Figures::default(),
            clock: Clock::System,
            http,
            tls: TlsConnector::from(without_resumption(trusting(&roots)?.with_no_client_auth())),
            roots,
            connecting: Semaphore::new(connects_at_once_max),
            geolocation_is_absent: AtomicBool::new(false),
            reporting: Semaphore::new(HTTP_REPORTS_AT_ONCE_MAX),
            reports_waiting: AtomicUsize::new(0),
        })
    }

    /// How a device shakes hands that has a certificate of its own.
    ///
    /// # Errors
    /// The server sent no certificate that belongs to the key.
    pub fn certified(&self, certificate: &str, key: &rcgen::KeyPair) -> anyhow::Result<Arc<ClientConfig>> {
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .context("reading the certificate of a device")?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let config = trusting(&self.roots)?.with_client_auth_cert(chain, key);
        Ok(without_resumption(config.context("using the certificate of a device")?))
    }

    /// How long ago that was.
    pub fn since(&self, instant: Instant) -> Duration {
        self.clock.instant().saturating_duration_since(instant)
    }

    /// Lets profile A report over HTTP in the background, as its agent does.
    pub fn report(self: &Arc<Self>, device: &Device, settings: &Arc<Settings>, report: HttpReport) {
        if self.reports_waiting.fetch_add(1, Relaxed) >= HTTP_REPORTS_MAX {
            self.reports_waiting.fetch_sub(1, Relaxed);
            return self.figures.error("more HTTP reports than the simulator can send");
        }
        let (world, device, settings) = (self.clone(), device.clone(), settings.clone());
        tokio::spawn(async move {
            let permit = world.reporting.acquire().await;
            let started = world.clock.instant();
            let outcome = enroll::report(&world.http, &device, &settings, report, world.clock.now()).await;
            world.reports_waiting.fetch_sub(1, Relaxed);
            drop(permit);
            match outcome {
                Ok(()) => {
                    world.figures.count(&world.figures.reports);
                    world.figures.took("report by HTTP", world.since(started));
                }
                // A server without this endpoint is complete without it: the positions of profile A are not promised yet.
                Err(Refused::Glpi { at: "POST geolocation", status: 400..=499, code }) => {
                    world.geolocation_is_absent.store(true, Relaxed);
                    world.figures.tolerated(format!("POST geolocation: {code}"));
                }
                Err(refused) => world.figures.error(refused.to_string()),
            }
        });
    }
}

fn trusted(ca: &Path) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    if ca.exists() {
        for certificate in CertificateDer::pem_file_iter(ca).with_context(|| format!("reading {}", ca.display()))? {
            roots.add(certificate.with_context(|| format!("reading {}", ca.display()))?)?;
        }
    }
    Ok(roots)
}

fn trusting(roots: &Arc<RootCertStore>) -> anyhow::Result<ConfigBuilder<ClientConfig, WantsClientCert>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots.clone()))
}

/// Every device is its own phone: none resumes the TLS session of another.
fn without_resumption(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}
