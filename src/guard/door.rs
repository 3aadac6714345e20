//! Who may open a connection, and who may begin a handshake. Decided before a byte is read.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{
    bucket::{Bucket, Rate},
    crowd::Crowd,
    table::Table,
};
use crate::ids::Origin;

/// What a door lets through.
#[derive(Debug, Clone, Default)]
pub struct DoorLimits {
    /// Connections at once; 0 is no limit.
    pub connections_max: u32,
    /// Those of one origin.
    pub origin_connections_max: u32,
    /// Handshakes at once, or whatever else strangers do before they are heard; 0 is no limit.
    pub handshakes_max: u32,
    /// Those of one origin.
    pub origin_handshakes_max: u32,
    /// New connections.
    pub rate: Option<Rate>,
    /// Those of one origin.
    pub origin_rate: Option<Rate>,
    /// Origins whose rate is remembered.
    pub origins_max: usize,
}

/// Why somebody was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turned {
    /// All places are taken.
    Full,
    /// All places of this origin are taken.
    OriginFull,
    /// Too many handshakes are in progress.
    Handshakes,
    /// Too many handshakes of this origin are in progress.
    OriginHandshakes,
    /// New connections come too fast.
    Rate,
    /// New connections of this origin come too fast.
    OriginRate,
}

impl Turned {
    /// The label of the metric.
    pub fn label(self) -> &'static str {
        match self {
            Turned::Full => "full",
            Turned::OriginFull => "address_full",
            Turned::Handshakes => "handshakes",
            Turned::OriginHandshakes => "address_handshakes",
            Turned::Rate => "rate",
            Turned::OriginRate => "address_rate",
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    connections: u32,
    handshakes: u32,
}

impl Count {
    fn shook_hands(&mut self) {
        self.handshakes = self.handshakes.saturating_sub(1);
    }
}

/// One kind of listener. `T` is how a stranger is told that he must go.
#[derive(Debug)]
pub struct Door<T> {
    limits: DoorLimits,
    bucket: Bucket,
    rates: Table<Origin, Bucket>,
    all: Count,
    /// Bounded by the connections that are open.
    open: HashMap<Origin, Count>,
    /// Those of them that may have to go.
    strangers: Crowd<Option<Origin>, Stranger<T>>,
}

#[derive(Debug)]
struct Stranger<T> {
    shakes_hands: bool,
    told: T,
}

/// What becomes of the place of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stay {
    /// It may have to make room for another one; this is its number among those.
    Stranger(u64),
    /// Its place is its own.
    Settled,
}

impl<T> Door<T> {
    /// Nobody came yet.
    pub fn new(limits: DoorLimits, now: Instant) -> Self {
        let rates = Table::new(limits.origins_max);
        let strangers = Crowd::default();
        Door { limits, bucket: Bucket::full(now), rates, all: Count::default(), open: HashMap::new(), strangers }
    }

    /// Somebody opened a connection, which counts as a handshake at first or not: a stranger. Who is let in must `leave` one day. Without
    /// an origin it is a proxy, which speaks for many: only the limits over all are about it. Whoever has to make room is handed to
    /// `displace`; his place is free at once.
    pub fn enter(
        &mut self,
        origin: Option<Origin>,
        shakes_hands: bool,
        now: Instant,
        told: T,
        mut displace: impl FnMut(T),
    ) -> Result<Stay, Turned> {
        self.take_tokens(origin, now)?;
        while let Some(turned) = self.reached(origin, shakes_hands) {
            displace(self.make_room(turned, origin, now).ok_or(turned)?);
        }
        let own = origin.map(|it| self.open.entry(it).or_default());
        for count in [Some(&mut self.all), own].into_iter().flatten() {
            count.connections += 1;
            count.handshakes += u32::from(shakes_hands);
        }
        Ok(Stay::Stranger(self.strangers.add(origin, now, Stranger { shakes_hands, told })))
    }

    fn reached(&self, origin: Option<Origin>, shakes_hands: bool) -> Option<Turned> {
        let own = origin.and_then(|it| self.open.get(&it)).copied().unwrap_or_default();
        let is_reached = |limit: u32, count: u32| limit > 0 && count >= limit;
        if is_reached(self.limits.connections_max, self.all.connections) {
            Some(Turned::Full)
        } else if is_reached(self.limits.origin_connections_max, own.connections) {
            Some(Turned::OriginFull)
        } else if shakes_hands && is_reached(self.limits.handshakes_max, self.all.handshakes) {
            Some(Turned::Handshakes)
        } else if shakes_hands && is_reached(self.limits.origin_handshakes_max, own.handshakes) {
            Some(Turned::OriginHandshakes)
        } else {
            None
        }
    }

    fn make_room(&mut self, turned: Turned, wants: Option<Origin>, now: Instant) -> Option<T> {
        let (origin, gone) = match turned {
            Turned::Full | Turned::Handshakes => self.strangers.take_of_greediest(wants)?,
            Turned::OriginFull | Turned::OriginHandshakes => (wants, self.strangers.take_old(wants, now)?),
            Turned::Rate | Turned::OriginRate => return None,
        };
        if gone.shakes_hands {
            self.count_handshake(origin);
        }
        self.count_out(origin);
        Some(gone.told)
    }

    /// The origin pays first, so that one that is too fast takes nothing from the others.
    fn take_tokens(&mut self, origin: Option<Origin>, now: Instant) -> Result<(), Turned> {
        if let (Some(rate), Some(origin)) = (&self.limits.origin_rate, origin) {
            let bucket = self.rates.entry(origin, now, Bucket::full(now));
            bucket.take(rate, now).map_err(|_: Duration| Turned::OriginRate)?;
        }
        if let Some(rate) = &self.limits.rate {
            self.bucket.take(rate, now).map_err(|_: Duration| Turned::Rate)?;
        }
        Ok(())
    }

    /// A handshake is done. `None`: he had to make room before.
    pub fn shook_hands(&mut self, origin: Option<Origin>, stay: Stay, now: Instant) -> Option<Stay> {
        let Stay::Stranger(number) = stay else { return Some(stay) };
        let it = self.strangers.remove(origin, number)?;
        if it.shakes_hands {
            self.count_handshake(origin);
        }
        Some(Stay::Stranger(self.strangers.add(origin, now, Stranger { shakes_hands: false, ..it })))
    }

    /// He is no stranger any more, be it for a while: what to tell him later is given back. `None`: he had to make room before.
    pub fn settle(&mut self, origin: Option<Origin>, stay: Stay) -> Option<T> {
        let Stay::Stranger(number) = stay else { return None };
        let it = self.strangers.remove(origin, number)?;
        if it.shakes_hands {
            self.count_handshake(origin);
        }
        Some(it.told)
    }

    /// He is one again.
    pub fn unsettle(&mut self, origin: Option<Origin>, now: Instant, told: T) -> Stay {
        Stay::Stranger(self.strangers.add(origin, now, Stranger { shakes_hands: false, told }))
    }

    /// A connection is gone.
    pub fn leave(&mut self, origin: Option<Origin>, stay: Stay) {
        if stay == Stay::Settled || self.settle(origin, stay).is_some() {
            self.count_out(origin);
        }
    }

    fn count_handshake(&mut self, origin: Option<Origin>) {
        self.all.shook_hands();
        if let Some(own) = origin.and_then(|it| self.open.get_mut(&it)) {
            own.shook_hands();
        }
    }

    fn count_out(&mut self, origin: Option<Origin>) {
        self.all.connections = self.all.connections.saturating_sub(1);
        let Some(origin) = origin else { return };
        if let Some(own) = self.open.get_mut(&origin) {
            own.connections = own.connections.saturating_sub(1);
            if own.connections == 0 {
                self.open.remove(&origin);
            }
        }
    }

    /// Connections that are open, and handshakes in progress.
    pub fn population(&self) -> (u32, u32) {
        (self.all.connections, self.all.handshakes)
    }

    /// Origins whose rate is remembered.
    pub fn origins(&self) -> usize {
        self.rates.len()
    }
}

#[cfg(test)]
#[path = "door_tests.rs"]
mod tests;
