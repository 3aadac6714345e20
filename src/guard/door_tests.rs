//! Stories of a door: who comes in, and who has to make room.

use super::*;
use crate::clock::Clock;

struct World {
    door: Door<u32>,
    now: Instant,
    came: u32,
    displaced: Vec<u32>,
}

impl World {
    fn new(limits: DoorLimits) -> World {
        let now = Clock::System.instant();
        World { door: Door::new(DoorLimits { origins_max: 64, ..limits }, now), now, came: 0, displaced: Vec::new() }
    }

    fn enters(&mut self, origin: impl Into<Option<Origin>>, shakes_hands: bool) -> Result<Stay, Turned> {
        let displaced = &mut self.displaced;
        self.came += 1;
        self.door.enter(origin.into(), shakes_hands, self.now, self.came, |it| displaced.push(it))
    }

    /// As somebody whose place is his own.
    fn settles(&mut self, origin: Origin) -> Result<(), Turned> {
        let stay = self.enters(origin, false)?;
        assert!(self.door.settle(Some(origin), stay).is_some());
        Ok(())
    }
}

fn origin(text: &str) -> Origin {
    Origin::of(text.parse().unwrap())
}

#[test]
fn places_are_counted_over_all_and_per_origin() {
    let mut world = World::new(DoorLimits { connections_max: 3, origin_connections_max: 2, ..DoorLimits::default() });
    let (one, other) = (origin("192.0.2.1"), origin("192.0.2.2"));
    assert_eq!(world.settles(one), Ok(()));
    assert_eq!(world.settles(one), Ok(()));
    assert_eq!(world.settles(one), Err(Turned::OriginFull));
    assert_eq!(world.settles(other), Ok(()));
    assert_eq!(world.settles(other), Err(Turned::Full));
    world.door.leave(Some(one), Stay::Settled);
    assert_eq!(world.settles(other), Ok(()));
    [one, other, other].into_iter().for_each(|it| world.door.leave(Some(it), Stay::Settled));
    assert_eq!((world.door.population(), world.door.open.len()), ((0, 0), 0), "nothing is kept of who left");
}

#[test]
fn handshakes_in_progress_are_bounded_and_done_ones_make_room() {
    let limits = DoorLimits { handshakes_max: 2, origin_handshakes_max: 1, ..DoorLimits::default() };
    let mut world = World::new(limits);
    let (one, other, third) = (origin("192.0.2.1"), origin("192.0.2.2"), origin("192.0.2.3"));
    let first = world.enters(one, true).unwrap();
    assert_eq!(world.enters(one, true), Err(Turned::OriginHandshakes));
    assert!(world.enters(one, false).is_ok(), "no handshake, no limit of handshakes");
    assert!(world.enters(other, true).is_ok());
    assert_eq!(world.enters(third, true), Err(Turned::Handshakes));
    assert!(world.door.shook_hands(Some(one), first, world.now).is_some());
    assert!(world.enters(third, true).is_ok());
}

#[test]
fn a_crowd_of_two_origins_makes_room_for_everybody_else() {
    let limits = DoorLimits { handshakes_max: 100, origin_handshakes_max: 50, ..DoorLimits::default() };
    let mut world = World::new(limits);
    let (one, other, calm) = (origin("192.0.2.1"), origin("192.0.2.2"), origin("192.0.2.3"));
    let crowd: Vec<Stay> =
        (0..100).map(|n| world.enters(if n % 2 == 0 { one } else { other }, true).unwrap()).collect();
    let mut guests = Vec::new();
    for _ in 0..10 {
        guests.push(world.enters(calm, true).unwrap());
    }
    assert_eq!(world.displaced.len(), 10);
    assert!(world.displaced.iter().all(|it| *it > 80), "the last who came: {:?}", world.displaced);
    assert_eq!(world.enters(one, true), Err(Turned::Handshakes), "they cannot push back");
    assert_eq!(world.door.population(), (100, 100));
    // Whoever had to go leaves later, and is not counted twice.
    crowd.into_iter().enumerate().for_each(|(n, it)| world.door.leave(Some(if n % 2 == 0 { one } else { other }), it));
    assert_eq!(world.door.population(), (10, 10));
    guests.into_iter().for_each(|it| world.door.leave(Some(calm), it));
    assert_eq!((world.door.population(), world.door.open.len(), world.door.strangers.origins()), ((0, 0), 0, 0));
}

#[test]
fn whoever_was_silent_for_long_makes_room_for_his_neighbour() {
    let mut world = World::new(DoorLimits { origin_handshakes_max: 2, ..DoorLimits::default() });
    let here = origin("192.0.2.1");
    let first = world.enters(here, true).unwrap();
    world.enters(here, true).unwrap();
    assert_eq!(world.enters(here, true), Err(Turned::OriginHandshakes));
    world.now += Duration::from_secs(5);
    assert!(world.enters(here, true).is_ok());
    assert_eq!(world.displaced, [1]);
    assert_eq!(world.door.settle(Some(here), first), None, "it is too late for him");
}

#[test]
fn whoever_has_settled_stays_however_many_come() {
    let mut world = World::new(DoorLimits { connections_max: 40, ..DoorLimits::default() });
    let (home, crowd) = (origin("192.0.2.1"), origin("192.0.2.2"));
    (0..20).for_each(|_| world.settles(home).unwrap());
    assert_eq!((0..100).filter(|_| world.enters(crowd, false).is_ok()).count(), 20);
    assert_eq!(world.settles(home), Ok(()));
    let stay = world.door.unsettle(Some(home), world.now, 1000);
    assert!(world.door.settle(Some(home), stay).is_some());
    assert_eq!(world.displaced.len(), 1);
}

#[test]
fn one_fast_origin_takes_nothing_from_the_others() {
    let second = Duration::from_secs(1);
    let mut world = World::new(DoorLimits {
        rate: Rate::new(1, second, 12),
        origin_rate: Rate::new(1, second, 10),
        ..DoorLimits::default()
    });
    let (fast, calm) = (origin("2001:db8::1"), origin("2001:db8:0:1::1"));
    let answers: Vec<_> = (0..1000).map(|_| world.enters(fast, false)).collect();
    assert_eq!(answers.iter().filter(|it| it.is_ok()).count(), 10);
    assert_eq!(answers[999], Err(Turned::OriginRate));
    assert_eq!(world.enters(origin("2001:db8::2"), false), Err(Turned::OriginRate), "the same /64");
    assert!(world.enters(calm, false).is_ok() && world.enters(calm, false).is_ok());
    assert_eq!(world.enters(calm, false), Err(Turned::Rate));
    world.now += second;
    assert!(world.enters(calm, false).is_ok());
}

#[test]
fn a_proxy_speaks_for_many() {
    let mut world = World::new(DoorLimits {
        connections_max: 3,
        origin_connections_max: 1,
        origin_handshakes_max: 1,
        origin_rate: Rate::new(1, Duration::from_secs(1), 1),
        ..DoorLimits::default()
    });
    let stays: Vec<Stay> = (0..3).map(|_| world.enters(None, true).unwrap()).collect();
    assert_eq!(world.enters(None, true), Err(Turned::Full));
    world.door.leave(None, stays[0]);
    assert!(world.door.shook_hands(None, stays[1], world.now).is_some());
    assert_eq!((world.door.population(), world.door.open.len(), world.door.origins()), ((2, 1), 0, 0));
}

#[test]
fn a_limit_of_0_is_none() {
    let mut world = World::new(DoorLimits::default());
    assert!((0..10_000).all(|_| world.enters(origin("192.0.2.1"), true).is_ok()));
}
