//! Failed logins: who is slowed down, who is banned, and who comes back too often. A stranger can never lock a device out: bans are for
//! addresses, spare the accounts that logged in from there before, and leave a narrow gap for secrets that cannot be guessed.

use std::{
    hash::{BuildHasher, RandomState},
    time::{Duration, Instant},
};

use super::{
    bucket::{Bucket, Rate},
    table::{Fading, Table},
};
use crate::ids::{AgentId, Origin};

/// Failures of an account that are answered without delay: people mistype.
const FREE_FAILURES: u32 = 3;
/// The delay after those; it doubles with each failure.
const FIRST_DELAY: Duration = Duration::from_millis(250);
/// Without a failure for so long, an account begins anew.
const FORGIVEN_AFTER: Duration = Duration::from_secs(15 * 60);
/// An account that logged in from an origin is known there for so long.
const KNOWN_FOR: Duration = Duration::from_secs(7 * 86_400);
/// Logins of a banned origin that are looked at all the same, per second: enough for a new phone behind the same address, nothing for
/// whoever guesses at machine secrets.
const HEARD_PER_S: u32 = 10;
/// Longest that a client which comes back too often waits for its answer.
pub const HELD_MAX: Duration = Duration::from_secs(10);
/// Connects that wait for a token at most, so that the wait of the last one stays short.
const HELD_CONNECTS_MAX: u32 = 3;
/// Takeovers of one account that a bad network explains: so many at once, so many per minute.
const TAKEOVERS_BURST: u32 = 10;
const TAKEOVERS_PER_MINUTE: u32 = 6;
/// One alarm per account in this time.
const ALARM_EVERY: Duration = Duration::from_secs(3600);

/// What is counted of logins.
#[derive(Debug, Clone, Default)]
pub struct LoginLimits {
    /// Failures of one origin before it is banned; `None`: nobody is.
    pub failures: Option<Rate>,
    /// How long.
    pub ban: Duration,
    /// Longest delay of the answer to a failure.
    pub delay_max: Duration,
    /// Connects of one device; `None`: as many as it likes.
    pub reconnects: Option<Rate>,
    /// Slots of each table.
    pub slots: usize,
}

/// A name or a token that somebody presents, as tables know it: by its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Account(u64);

/// All that a client presents, as tables know it: devices of two tenants may have one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Credentials(u64);

/// What a failure costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed {
    /// How long the answer waits.
    pub delay: Duration,
    /// Whether this very failure brought a ban.
    pub is_banned_now: bool,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    failures: Bucket,
    banned_until: Instant,
    /// What is looked at during a ban.
    heard: Bucket,
}

impl Fading for Record {
    fn gone_at(&self) -> Instant {
        self.failures.gone_at().max(self.banned_until)
    }
}

#[derive(Debug, Clone, Copy)]
struct Strikes {
    count: u32,
    forgiven_at: Instant,
}

impl Fading for Strikes {
    fn gone_at(&self) -> Instant {
        self.forgiven_at
    }
}

#[derive(Debug, Clone, Copy)]
struct Until(Instant);

impl Fading for Until {
    fn gone_at(&self) -> Instant {
        self.0
    }
}

#[derive(Debug, Clone, Copy)]
struct Takeovers {
    bucket: Bucket,
    quiet_until: Instant,
}

impl Fading for Takeovers {
    fn gone_at(&self) -> Instant {
        self.bucket.gone_at().max(self.quiet_until)
    }
}

/// What is remembered of logins.
#[derive(Debug)]
pub struct Logins {
    limits: LoginLimits,
    takeover_rate: Option<Rate>,
    heard_rate: Option<Rate>,
    hasher: RandomState,
    records: Table<Origin, Record>,
    strikes: Table<Account, Strikes>,
    known: Table<(Origin, Account), Until>,
    friendly: Table<Origin, Until>,
    reconnects: Table<Credentials, Bucket>,
    takeovers: Table<AgentId, Takeovers>,
}

impl Logins {
    /// Nobody tried yet.
    pub fn new(limits: LoginLimits) -> Logins {
        let slots = limits.slots;
        Logins {
            takeover_rate: Rate::new(TAKEOVERS_PER_MINUTE, Duration::from_secs(60), TAKEOVERS_BURST),
            heard_rate: Rate::new(HEARD_PER_S, Duration::from_secs(1), HEARD_PER_S),
            hasher: RandomState::new(),
            records: Table::new(slots),
            strikes: Table::new(slots),
            known: Table::new(slots),
            friendly: Table::new(slots),
            reconnects: Table::new(slots),
            takeovers: Table::new(slots),
            limits,
        }
    }

    /// How tables know this name or token.
    pub fn account(&self, name: &[u8]) -> Account {
        Account(self.hasher.hash_one(name))
    }

    /// How tables know this name with this password or certificate.
    pub fn credentials(&self, name: &[u8], secret: &[u8]) -> Credentials {
        Credentials(self.hasher.hash_one((name, secret)))
    }

    /// Somebody wants to log in. `Err`: refuse without looking; the ban ends after that.
    pub fn may_try(&self, origin: Origin, account: Account, now: Instant) -> Result<(), Duration> {
        let ban = self.ban_left(origin, now);
        if ban > Duration::ZERO && !self.knows(origin, account, now) { Err(ban) } else { Ok(()) }
    }

    /// How long a client waits that comes back too often.
    pub fn hold(&self, credentials: Credentials, now: Instant) -> Duration {
        match (&self.limits.reconnects, self.reconnects.get(&credentials)) {
            (Some(rate), Some(bucket)) => bucket.wait(rate, now).min(HELD_MAX),
            _ => Duration::ZERO,
        }
    }

    /// How long an origin stays banned.
    pub fn ban_left(&self, origin: Origin, now: Instant) -> Duration {
        self.records.get(&origin).map_or(Duration::ZERO, |it| it.banned_until.saturating_duration_since(now))
    }

    /// Whether nobody from there needs to be listened to now: it is banned, no account is known there, and the gap is used up.
    pub fn is_hopeless(&self, origin: Origin, now: Instant) -> bool {
        let is_heard = |it: &Record| self.heard_rate.is_some_and(|rate| it.heard.wait(&rate, now) == Duration::ZERO);
        self.ban_left(origin, now) > Duration::ZERO
            && self.friendly.get(&origin).is_none_or(|it| it.0 <= now)
            && !self.records.get(&origin).is_some_and(is_heard)
    }

    /// Whether a secret that cannot be guessed is looked at although its origin is banned. Uses the gap up a little.
    pub fn is_heard(&mut self, origin: Origin, now: Instant) -> bool {
        let Some(rate) = self.heard_rate else { return false };
        self.records.get_mut(&origin).is_some_and(|it| it.heard.take(&rate, now).is_ok())
    }

    fn knows(&self, origin: Origin, account: Account, now: Instant) -> bool {
        self.known.get(&(origin, account)).is_some_and(|it| it.0 > now)
    }

    /// A login with a secret that cannot be guessed succeeded: a later ban of the origin spares this account.
    pub fn succeeded(&mut self, origin: Origin, account: Account, now: Instant) {
        let until = now + KNOWN_FOR;
        self.known.entry((origin, account), now, Until(until)).0 = until;
        self.friendly.entry(origin, now, Until(until)).0 = until;
    }

    /// A device connected: too often, and the next one waits.
    pub fn connected(&mut self, credentials: Credentials, now: Instant) {
        if let Some(rate) = self.limits.reconnects {
            self.reconnects.entry(credentials, now, Bucket::full(now)).owe(&rate, now, HELD_CONNECTS_MAX);
        }
    }

    /// A login failed.
    pub fn failed(&mut self, origin: Origin, account: Account, now: Instant) -> Failed {
        let strikes = self.strikes.entry(account, now, Strikes { count: 0, forgiven_at: now });
        if strikes.forgiven_at <= now {
            strikes.count = 0;
        }
        strikes.count = strikes.count.saturating_add(1);
        strikes.forgiven_at = now + FORGIVEN_AFTER;
        let delay = delay_after(strikes.count).min(self.limits.delay_max);
        Failed { delay, is_banned_now: self.counts_against(origin, now) }
    }

    fn counts_against(&mut self, origin: Origin, now: Instant) -> bool {
        let Some(rate) = self.limits.failures else { return false };
        let fresh = Record { failures: Bucket::full(now), banned_until: now, heard: Bucket::full(now) };
        let record = self.records.entry(origin, now, fresh);
        let was_banned = record.banned_until > now;
        let is_too_much = record.failures.take(&rate, now).is_err();
        if is_too_much && !was_banned {
            record.banned_until = now + self.limits.ban;
            record.heard = self.heard_rate.map_or(record.heard, |rate| Bucket::empty(&rate, now));
        }
        is_too_much && !was_banned && self.limits.ban > Duration::ZERO
    }

    /// A connection of this agent was taken over by a newer one. True, once in a while: two places keep doing that to each other.
    pub fn taken_over(&mut self, agent: AgentId, now: Instant) -> bool {
        let Some(rate) = self.takeover_rate else { return false };
        let entry = self.takeovers.entry(agent, now, Takeovers { bucket: Bucket::full(now), quiet_until: now });
        let is_too_much = entry.bucket.take(&rate, now).is_err();
        let is_news = is_too_much && entry.quiet_until <= now;
        if is_news {
            entry.quiet_until = now + ALARM_EVERY;
        }
        is_news
    }

    /// The tables by name, and how many slots of each are in use.
    pub fn sizes(&self) -> [(&'static str, usize); 6] {
        [
            ("failed_addresses", self.records.len()),
            ("failed_accounts", self.strikes.len()),
            ("known_accounts", self.known.len()),
            ("known_addresses", self.friendly.len()),
            ("reconnects", self.reconnects.len()),
            ("takeovers", self.takeovers.len()),
        ]
    }
}

fn delay_after(failures: u32) -> Duration {
    match failures.checked_sub(FREE_FAILURES + 1) {
        None => Duration::ZERO,
        Some(doubled) => FIRST_DELAY.saturating_mul(1 << doubled.min(16)),
    }
}

#[cfg(test)]
#[path = "logins_tests.rs"]
mod tests;
