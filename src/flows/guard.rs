//! Strangers: who may open a connection, who may try to log in, and what a failure costs. The rules are in [`crate::guard`].

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;
use tracing::{info, warn};

use super::{
    Flows,
    admit::{Admission, Caller, Verdict},
};
use crate::{
    broker::{auth::Principal, outbox::Outbox},
    config::Config,
    guard::{
        bucket::{Bucket, Rate},
        door::{Door, DoorLimits, Stay, Turned},
        logins::{Account, LoginLimits, Logins},
        proxies::Proxies,
        table::Table,
    },
    ids::{AgentId, Origin},
    metrics::{Listener, Metrics, TableName, TurnedAway},
    mqtt::packet::{Connect, ConnectCode},
};

pub use crate::guard::budget::{Budget, Share};

/// Connections to the administrators' listener at once.
const ADMIN_CONNECTIONS_MAX: u32 = 1000;
/// The answer to a failure leaves at a multiple of this, so that its time does not tell a wrong password from an unknown name.
const ANSWER_STEP: Duration = Duration::from_millis(50);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// Certificates that an agent may ask for in an hour: it needs one in weeks, and each is a signature and a line of the audit.
const RENEWALS_PER_HOUR: u32 = 10;
/// Those that it may ask for at once.
const RENEWALS_BURST: u32 = 20;

/// Strangers' part of the memory for bodies of requests, and of that for packets: one of so many.
const STRANGERS_PART: usize = 4;

/// Where somebody comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entrance {
    /// Devices and service accounts.
    Mqtt,
    /// The agents' API.
    Http,
    /// The administrators' API.
    Admin,
}

impl Entrance {
    const ALL: [Entrance; 3] = [Entrance::Mqtt, Entrance::Http, Entrance::Admin];

    fn label(self) -> &'static str {
        match self {
            Entrance::Mqtt => "mqtt",
            Entrance::Http => "http",
            Entrance::Admin => "admin",
        }
    }

    fn name(self) -> Listener {
        Listener { listener: self.label() }
    }
}

/// Who begins to say something over MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Somebody who was not let in yet.
    Stranger,
    /// A device.
    Device,
    /// A service account.
    Service,
}

/// What is known of strangers. Locks are held for a look into a table, never while waiting.
pub struct Guard {
    doors: [Mutex<Door<Arc<Notify>>>; 3],
    logins: Mutex<Logins>,
    sessions: Mutex<Table<Origin, Bucket>>,
    renewals: Mutex<Table<AgentId, Bucket>>,
    proxies: Proxies,
    session_rate: Option<Rate>,
    /// Bodies of requests: of those with a session, and of strangers, who have a part of their own.
    bodies: [Arc<Budget>; 2],
    /// Packets over MQTT that are not complete, by [`Who`].
    packets: [Arc<Budget>; 3],
}

impl Guard {
    /// Nobody came yet.
    pub fn new(config: &Config, now: Instant) -> Arc<Guard> {
        let (limits, mqtt, http) = (&config.limits, &config.mqtt, &config.http);
        let slots = limits.remembered_max as usize;
        let doors = DoorLimits {
            connections_max: mqtt.connections_max,
            origin_connections_max: limits.address_connections_max,
            handshakes_max: limits.handshakes_max,
            origin_handshakes_max: limits.address_handshakes_max,
            rate: Rate::new(limits.connects_per_s, SECOND, limits.connects_burst),
            origin_rate: Rate::new(limits.address_connects_per_s, SECOND, limits.address_connects_burst),
            origins_max: slots,
        };
        let http_door = DoorLimits {
            connections_max: http.connections_max,
            origin_connections_max: http.address_connections_max,
            ..doors.clone()
        };
        let admin_door = DoorLimits { connections_max: ADMIN_CONNECTIONS_MAX, ..DoorLimits::default() };
        let logins = Logins::new(LoginLimits {
            failures: Rate::new(limits.failed_logins_per_min, MINUTE, limits.failed_logins_burst),
            ban: Duration::from_secs(limits.ban_s.into()),
            delay_max: Duration::from_secs(limits.failed_login_delay_max_s.into()),
            reconnects: Rate::new(limits.reconnects_per_min, MINUTE, limits.reconnects_burst),
            slots,
        });
        let (bodies_max, packets_max) = (http.bodies_bytes_max as usize, mqtt.unfinished_bytes_max as usize);
        Arc::new(Guard {
            doors: [doors, http_door, admin_door].map(|it| Mutex::new(Door::new(it, now))),
            logins: Mutex::new(logins),
            sessions: Mutex::new(Table::new(slots)),
            renewals: Mutex::new(Table::new(slots)),
            // The settings were checked.
            proxies: Proxies::new(http.proxies().unwrap_or_default()),
            session_rate: Rate::new(limits.address_sessions_per_s, SECOND, limits.address_sessions_burst),
            bodies: [bodies_max, (bodies_max / STRANGERS_PART).max(http.body_bytes_max as usize)].map(Budget::new),
            packets: [packets_max / STRANGERS_PART, packets_max, packets_max].map(Budget::new),
        })
    }

    fn door(&self, entrance: Entrance) -> MutexGuard<'_, Door<Arc<Notify>>> {
        self.doors[entrance as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn logins(&self) -> MutexGuard<'_, Logins> {
        self.logins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What packets take from that are not complete.
    pub fn packets(&self, who: Who) -> &Arc<Budget> {
        &self.packets[who as usize]
    }

    /// What bodies of requests take from: whoever has a session must not suffer from strangers.
    pub fn bodies(&self, has_session: bool) -> &Arc<Budget> {
        &self.bodies[usize::from(!has_session)]
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Guard")
    }
}

/// The place of an open connection; dropping it gives the place back. A stranger's may be wanted for another one.
#[derive(Debug)]
pub struct Place {
    guard: Arc<Guard>,
    entrance: Entrance,
    /// None of a proxy, which speaks for many.
    origin: Option<Origin>,
    stay: Mutex<Stay>,
    /// Rings when the place is needed.
    bell: Arc<Notify>,
}

impl Place {
    /// The handshake is done.
    pub fn shook_hands(&self, now: Instant) {
        let mut stay = self.stay();
        // Whoever had to make room will hear of it.
        if let Some(now_stays) = self.guard.door(self.entrance).shook_hands(self.origin, *stay, now) {
            *stay = now_stays;
        }
    }

    /// Its place is its own from now on. False: it is gone already.
    pub fn settle(&self) -> bool {
        let mut stay = self.stay();
        let is_here = *stay == Stay::Settled || self.guard.door(self.entrance).settle(self.origin, *stay).is_some();
        if is_here {
            *stay = Stay::Settled;
        }
        is_here
    }

    /// It is a stranger's again.
    pub fn unsettle(&self, now: Instant) {
        let mut stay = self.stay();
        if *stay == Stay::Settled {
            *stay = self.guard.door(self.entrance).unsettle(self.origin, now, self.bell.clone());
        }
    }

    /// Waits until the place is needed for another one.
    pub async fn displaced(&self) {
        self.bell.notified().await;
    }

    fn stay(&self) -> MutexGuard<'_, Stay> {
        self.stay.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let stay = *self.stay();
        self.guard.door(self.entrance).leave(self.origin, stay);
    }
}

/// Marks an answer over HTTP whose reader is entitled to all of it: its connection makes room for nobody until it was written.
#[derive(Debug, Clone, Copy)]
pub struct Owed;

/// A CONNECT that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// What the client is told.
    pub code: ConnectCode,
    /// Whether nobody even looked at what it presented: that is counted, and not worth a line in the log.
    pub is_routine: bool,
}

impl Flows {
    /// Somebody opened a connection, which counts as a handshake for now or not. `None`: close it at once; it is counted. Somebody else
    /// may have to make room for it.
    pub fn enter(&self, entrance: Entrance, address: IpAddr, shakes_hands: bool) -> Option<Place> {
        let (origin, now) = (Origin::of(address), self.clock.instant());
        // A page that says why is cheap over HTTP; a handshake and a CONNECT are not.
        let is_hopeless = entrance == Entrance::Mqtt && self.guard.logins().is_hopeless(origin, now);
        let is_proxy = entrance != Entrance::Mqtt && self.guard.proxies.trusts(address);
        let origin = (!is_proxy).then_some(origin);
        let turn_away = |reason| {
            self.metrics.turned_away.get_or_create(&TurnedAway { listener: entrance.label(), reason }).inc();
        };
        if is_hopeless {
            turn_away("banned");
            return None;
        }
        let bell = Arc::new(Notify::new());
        let entered = self.guard.door(entrance).enter(origin, shakes_hands, now, bell.clone(), |other| {
            turn_away("displaced");
            other.notify_one();
        });
        match entered.map_err(Turned::label) {
            Ok(stay) => Some(Place { guard: self.guard.clone(), entrance, origin, stay: Mutex::new(stay), bell }),
            Err(label) => {
                turn_away(label);
                None
            }
        }
    }

    /// Who asks over HTTP: `peer`, or whoever a trusted proxy speaks for in these lines of `X-Forwarded-For`.
    pub fn asks(&self, peer: IpAddr, forwarded: &[&str]) -> IpAddr {
        self.guard.proxies.client(peer, forwarded)
    }

    /// Decides who a client is, unless its address is banned. One that comes back too often waits first; the answer to a failure waits as
    /// long as the failures before it demand.
    pub async fn let_in(
        &self,
        connect: &Connect,
        caller: &Caller,
        outbox: &Arc<Outbox>,
    ) -> Result<Box<Admission>, Refusal> {
        let began = self.clock.instant();
        let origin = Origin::of(caller.address.ip());
        // Whoever says no name is known by his certificate.
        let shown = caller.certificate.as_ref().map_or("", |it| it.fingerprint.as_str());
        let name = connect.username.as_deref().filter(|it| !it.is_empty()).unwrap_or(shown);
        let said = connect.password.as_deref().unwrap_or_default();
        let secret = if shown.is_empty() { said } else { shown.as_bytes() };
        let (account, credentials, may_try, hold) = {
            let mut logins = self.guard.logins();
            let account = logins.account(name.as_bytes());
            let credentials = logins.credentials(name.as_bytes(), secret);
            // Secrets of machines cannot be guessed: a new phone behind the address of a guesser gets in after a moment.
            let may_try = logins.may_try(origin, account, began).is_ok() || logins.is_heard(origin, began);
            (account, credentials, may_try, logins.hold(credentials, began))
        };
        if !may_try {
            self.metrics.banned_logins.get_or_create(&Entrance::Mqtt.name()).inc();
            return Err(Refusal { code: ConnectCode::NotAuthorized, is_routine: true });
        }
        if hold > Duration::ZERO {
            self.metrics.held_connects.inc();
            tokio::time::sleep(hold).await;
        }
        match self.admit(connect, caller, outbox).await {
            Verdict::Welcome(admission) => {
                let mut logins = self.guard.logins();
                logins.succeeded(origin, account, began);
                if matches!(admission.principal, Principal::Device(_)) && !name.is_empty() {
                    logins.connected(credentials, began);
                }
                Ok(admission)
            }
            Verdict::Refused(code) => {
                if matches!(code, ConnectCode::BadCredentials | ConnectCode::NotAuthorized) {
                    self.login_failed(Entrance::Mqtt, origin, account, began).await;
                }
                Err(Refusal { code, is_routine: false })
            }
        }
    }

    /// Somebody wants to open a session or to enroll, presenting this name or token. `Err`: not before so much time has passed.
    pub fn may_log_in(
        &self,
        entrance: Entrance,
        origin: Origin,
        presented: &str,
        is_token: bool,
    ) -> Result<(), Duration> {
        let now = self.clock.instant();
        let mut logins = self.guard.logins();
        let may_try = logins.may_try(origin, logins.account(presented.as_bytes()), now);
        // As over MQTT, tokens cannot be guessed.
        if let Err(left) = may_try
            && !(is_token && logins.is_heard(origin, now))
        {
            drop(logins);
            self.metrics.banned_logins.get_or_create(&entrance.name()).inc();
            return Err(left);
        }
        drop(logins);
        let Some(rate) = &self.guard.session_rate else { return Ok(()) };
        let mut sessions = self.guard.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = sessions.entry(origin, now, Bucket::full(now)).take(rate, now);
        drop(sessions);
        taken.inspect_err(|_| {
            self.metrics.hurried_sessions.inc();
        })
    }

    /// Whether an agent may have another certificate now.
    pub fn may_renew(&self, agent: AgentId) -> bool {
        let (rate, now) = (Rate::new(RENEWALS_PER_HOUR, HOUR, RENEWALS_BURST), self.clock.instant());
        let mut renewals = self.guard.renewals.lock().unwrap_or_else(PoisonError::into_inner);
        rate.is_none_or(|rate| renewals.entry(agent, now, Bucket::full(now)).take(&rate, now).is_ok())
    }

    /// A secret that cannot be guessed was right: a later ban of the address spares its owner.
    pub fn machine_logged_in(&self, origin: Origin, presented: &str) {
        let mut logins = self.guard.logins();
        let account = logins.account(presented.as_bytes());
        logins.succeeded(origin, account, self.clock.instant());
    }

    /// What was presented is wrong. Returns when the answer may leave.
    pub async fn secret_was_wrong(&self, entrance: Entrance, origin: Origin, presented: &str, began: Instant) {
        let account = self.guard.logins().account(presented.as_bytes());
        self.login_failed(entrance, origin, account, began).await;
    }

    /// How long an address stays banned.
    pub fn ban_left(&self, origin: Origin) -> Duration {
        self.guard.logins().ban_left(origin, self.clock.instant())
    }

    async fn login_failed(&self, entrance: Entrance, origin: Origin, account: Account, began: Instant) {
        self.metrics.failed_logins.get_or_create(&entrance.name()).inc();
        let now = self.clock.instant();
        let failed = self.guard.logins().failed(origin, account, now);
        if failed.is_banned_now {
            self.metrics.bans.inc();
            info!("banned {origin} for {} s after too many failed logins", self.config.limits.ban_s);
        }
        let spent = now.saturating_duration_since(began);
        let steps = spent.as_nanos() / ANSWER_STEP.as_nanos() + 1;
        let rounded = ANSWER_STEP.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX));
        tokio::time::sleep(rounded.saturating_sub(spent) + failed.delay).await;
    }

    /// A connection of this agent was taken over. Where two places keep doing that to each other, the operator hears of it.
    pub fn taken_over(&self, agent: AgentId, name: &str) {
        if self.guard.logins().taken_over(agent, self.clock.instant()) {
            self.metrics.clone_alarms.inc();
            warn!("two places keep taking {name} from each other: are its credentials on two devices?");
        }
    }

    /// Gauges of the guard, before they are scraped.
    pub(super) fn measure_guard(&self) {
        let metrics: &Metrics = &self.metrics;
        let mut remembered: Vec<(&'static str, usize)> = self.guard.logins().sizes().to_vec();
        for entrance in Entrance::ALL {
            let door = self.guard.door(entrance);
            let (sockets, handshakes) = door.population();
            let rates = door.origins();
            drop(door);
            metrics.sockets.get_or_create(&entrance.name()).set(sockets.into());
            metrics.shaking_hands.get_or_create(&entrance.name()).set(handshakes.into());
            match entrance {
                Entrance::Mqtt => remembered.push(("mqtt_rates", rates)),
                Entrance::Http => remembered.push(("http_rates", rates)),
                Entrance::Admin => {}
            }
        }
        metrics.crowded_requests.inc_by(self.guard.bodies.iter().map(|it| it.refused()).sum());
        let sessions = self.guard.sessions.lock().unwrap_or_else(PoisonError::into_inner).len();
        remembered.push(("session_rates", sessions));
        let renewals = self.guard.renewals.lock().unwrap_or_else(PoisonError::into_inner).len();
        remembered.push(("renewal_rates", renewals));
        for (table, slots) in remembered {
            metrics.remembered.get_or_create(&TableName { table }).set(i64::try_from(slots).unwrap_or(i64::MAX));
        }
    }
}
