//! Who may open a connection, and who may begin a handshake. Decided before a byte is read.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{
    bucket::{Bucket, Rate},
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
    /// Handshakes at once; 0 is no limit.
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

/// One kind of listener.
#[derive(Debug)]
pub struct Door {
    limits: DoorLimits,
    bucket: Bucket,
    rates: Table<Origin, Bucket>,
    all: Count,
    /// Bounded by the connections that are open.
    open: HashMap<Origin, Count>,
}

impl Door {
    /// Nobody came yet.
    pub fn new(limits: DoorLimits, now: Instant) -> Door {
        let rates = Table::new(limits.origins_max);
        Door { limits, bucket: Bucket::full(now), rates, all: Count::default(), open: HashMap::new() }
    }

    /// Somebody opened a connection, which begins with a handshake or not. Who is let in must `leave` one day. Without an origin it is
    /// a proxy, which speaks for many: only the limits over all are about it.
    pub fn enter(&mut self, origin: impl Into<Option<Origin>>, shakes_hands: bool, now: Instant) -> Result<(), Turned> {
        let origin = origin.into();
        let own = origin.and_then(|it| self.open.get(&it)).copied().unwrap_or_default();
        let is_reached = |limit: u32, count: u32| limit > 0 && count >= limit;
        if is_reached(self.limits.connections_max, self.all.connections) {
            return Err(Turned::Full);
        }
        if is_reached(self.limits.origin_connections_max, own.connections) {
            return Err(Turned::OriginFull);
        }
        if shakes_hands && is_reached(self.limits.handshakes_max, self.all.handshakes) {
            return Err(Turned::Handshakes);
        }
        if shakes_hands && is_reached(self.limits.origin_handshakes_max, own.handshakes) {
            return Err(Turned::OriginHandshakes);
        }
        self.take_tokens(origin, now)?;
        let own = origin.map(|it| self.open.entry(it).or_default());
        for count in [Some(&mut self.all), own].into_iter().flatten() {
            count.connections += 1;
            count.handshakes += u32::from(shakes_hands);
        }
        Ok(())
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

    /// A handshake is done.
    pub fn shook_hands(&mut self, origin: impl Into<Option<Origin>>) {
        self.all.shook_hands();
        if let Some(own) = origin.into().and_then(|it| self.open.get_mut(&it)) {
            own.shook_hands();
        }
    }

    /// A connection is gone.
    pub fn leave(&mut self, origin: impl Into<Option<Origin>>) {
        self.all.connections = self.all.connections.saturating_sub(1);
        let Some(origin) = origin.into() else { return };
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
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn origin(text: &str) -> Origin {
        Origin::of(text.parse().unwrap())
    }

    fn door(limits: DoorLimits) -> (Door, Instant) {
        let now = Clock::System.instant();
        (Door::new(DoorLimits { origins_max: 64, ..limits }, now), now)
    }

    #[test]
    fn places_are_counted_over_all_and_per_origin() {
        let (mut door, now) =
            door(DoorLimits { connections_max: 3, origin_connections_max: 2, ..DoorLimits::default() });
        let (one, other) = (origin("192.0.2.1"), origin("192.0.2.2"));
        assert_eq!(door.enter(one, false, now), Ok(()));
        assert_eq!(door.enter(one, false, now), Ok(()));
        assert_eq!(door.enter(one, false, now), Err(Turned::OriginFull));
        assert_eq!(door.enter(other, false, now), Ok(()));
        assert_eq!(door.enter(other, false, now), Err(Turned::Full));
        door.leave(one);
        assert_eq!(door.enter(other, false, now), Ok(()));
        [one, other, other].into_iter().for_each(|it| door.leave(it));
        assert_eq!((door.population(), door.open.len()), ((0, 0), 0), "nothing is kept of who left");
    }

    #[test]
    fn handshakes_in_progress_are_bounded_and_done_ones_make_room() {
        let (mut door, now) = door(DoorLimits { handshakes_max: 2, origin_handshakes_max: 1, ..DoorLimits::default() });
        let (one, other, third) = (origin("192.0.2.1"), origin("192.0.2.2"), origin("192.0.2.3"));
        assert_eq!(door.enter(one, true, now), Ok(()));
        assert_eq!(door.enter(one, true, now), Err(Turned::OriginHandshakes));
        assert_eq!(door.enter(one, false, now), Ok(()), "no handshake, no limit of handshakes");
        assert_eq!(door.enter(other, true, now), Ok(()));
        assert_eq!(door.enter(third, true, now), Err(Turned::Handshakes));
        door.shook_hands(one);
        assert_eq!(door.enter(third, true, now), Ok(()));
    }

    #[test]
    fn one_fast_origin_takes_nothing_from_the_others() {
        let second = Duration::from_secs(1);
        let (mut door, now) = door(DoorLimits {
            rate: Rate::new(1, second, 12),
            origin_rate: Rate::new(1, second, 10),
            ..DoorLimits::default()
        });
        let (fast, calm) = (origin("2001:db8::1"), origin("2001:db8:0:1::1"));
        let answers: Vec<_> = (0..1000).map(|_| door.enter(fast, false, now)).collect();
        assert_eq!(answers.iter().filter(|it| it.is_ok()).count(), 10);
        assert_eq!(answers[999], Err(Turned::OriginRate));
        assert_eq!(door.enter(origin("2001:db8::2"), false, now), Err(Turned::OriginRate), "the same /64");
        assert_eq!(door.enter(calm, false, now), Ok(()));
        assert_eq!(door.enter(calm, false, now), Ok(()));
        assert_eq!(door.enter(calm, false, now), Err(Turned::Rate));
        assert_eq!(door.enter(calm, false, now + second), Ok(()));
    }

    #[test]
    fn a_proxy_speaks_for_many() {
        let (mut door, now) = door(DoorLimits {
            connections_max: 3,
            origin_connections_max: 1,
            origin_handshakes_max: 1,
            origin_rate: Rate::new(1, Duration::from_secs(1), 1),
            ..DoorLimits::default()
        });
        assert!((0..3).all(|_| door.enter(None, true, now).is_ok()));
        assert_eq!(door.enter(None, true, now), Err(Turned::Full));
        door.shook_hands(None);
        door.leave(None);
        assert_eq!((door.population(), door.open.len(), door.origins()), ((2, 2), 0, 0));
    }

    #[test]
    fn a_limit_of_0_is_none() {
        let (mut door, now) = door(DoorLimits::default());
        assert!((0..10_000).all(|_| door.enter(origin("192.0.2.1"), true, now).is_ok()));
    }
}
