//! Stories of guessers and of those who must not suffer from them.

use super::*;
use crate::clock::Clock;

const SECOND: Duration = Duration::from_secs(1);

struct World {
    logins: Logins,
    now: Instant,
}

impl World {
    fn new() -> World {
        let limits = LoginLimits {
            failures: Rate::new(1, SECOND, 20),
            ban: SECOND * 300,
            delay_max: SECOND * 8,
            reconnects: Rate::new(20, SECOND * 60, 5),
            slots: 1024,
        };
        World { logins: Logins::new(limits), now: Clock::System.instant() }
    }

    fn fails(&mut self, origin: &str, name: &str) -> Failed {
        let account = self.logins.account(name.as_bytes());
        self.logins.failed(at(origin), account, self.now)
    }

    fn fails_often(&mut self, origin: &str, name: &str, times: usize) {
        for _ in 0..times {
            self.fails(origin, name);
        }
    }

    fn succeeds(&mut self, origin: &str, name: &str) {
        let account = self.logins.account(name.as_bytes());
        self.logins.succeeded(at(origin), account, self.now);
    }

    fn asks(&self, origin: &str, name: &str) -> Result<(), Duration> {
        self.logins.may_try(at(origin), self.logins.account(name.as_bytes()), self.now)
    }
}

fn at(text: &str) -> Origin {
    Origin::of(text.parse().unwrap())
}

#[test]
fn failures_slow_down_and_then_ban_the_address_for_a_time() {
    let mut world = World::new();
    let delays: Vec<u128> = (0..10).map(|_| world.fails("192.0.2.9", "ada").delay.as_millis()).collect();
    assert_eq!(delays, [0, 0, 0, 250, 500, 1000, 2000, 4000, 8000, 8000]);
    assert_eq!(world.asks("192.0.2.9", "ada"), Ok(()));
    let bans = (0..100).filter(|n| world.fails("192.0.2.9", &format!("guess{n}")).is_banned_now).count();
    assert_eq!(bans, 1, "said once");
    assert_eq!(world.asks("192.0.2.9", "ada"), Err(SECOND * 300));
    assert_eq!(world.asks("192.0.2.8", "ada"), Ok(()), "another address is not banned");
    world.now += SECOND * 300;
    assert_eq!(world.asks("192.0.2.9", "ada"), Ok(()));
}

#[test]
fn a_stranger_locks_out_nobody_who_was_there_before() {
    let mut world = World::new();
    world.succeeds("192.0.2.9", "PHONE-1");
    world.fails_often("192.0.2.9", "PHONE-1", 100);
    assert_eq!(world.asks("192.0.2.9", "PHONE-1"), Ok(()), "known behind this address");
    assert_eq!(world.asks("192.0.2.9", "PHONE-2"), Err(SECOND * 300), "never seen there");
    assert!(!world.logins.is_hopeless(at("192.0.2.9"), world.now), "somebody there is worth listening to");
    world.fails_often("198.51.100.1", "PHONE-1", 100);
    assert!(world.logins.is_hopeless(at("198.51.100.1"), world.now));
    assert!(!world.logins.is_heard(at("198.51.100.1"), world.now));
    world.now += SECOND;
    assert!(!world.logins.is_hopeless(at("198.51.100.1"), world.now), "a new phone there gets in after a moment");
    let heard = (0..100).filter(|_| world.logins.is_heard(at("198.51.100.1"), world.now)).count();
    assert_eq!(heard, HEARD_PER_S as usize, "and whoever guesses gets hardly anything");
    assert!(world.logins.is_hopeless(at("198.51.100.1"), world.now));
    assert_eq!(world.asks("192.0.2.9", "PHONE-1"), Ok(()));
}

#[test]
fn failures_are_forgiven_with_time() {
    let mut world = World::new();
    world.fails_often("192.0.2.9", "ada", 8);
    assert_eq!(world.fails("192.0.2.9", "ada").delay, SECOND * 8);
    world.now += FORGIVEN_AFTER;
    assert_eq!(world.fails("192.0.2.9", "ada").delay, Duration::ZERO);
    for _ in 0..1000 {
        world.now += SECOND;
        assert!(!world.fails("192.0.2.7", "stale device").is_banned_now, "one a second is what a broken device does");
    }
}

#[test]
fn a_device_that_comes_back_too_often_is_held_for_a_bounded_time() {
    let mut world = World::new();
    let flapper = world.logins.credentials(b"PHONE-1", b"its password");
    for _ in 0..5 {
        assert_eq!(world.logins.hold(flapper, world.now), Duration::ZERO);
        world.logins.connected(flapper, world.now);
    }
    assert_eq!(world.logins.hold(flapper, world.now), SECOND * 3);
    (0..1000).for_each(|_| world.logins.connected(flapper, world.now));
    assert_eq!(world.logins.hold(flapper, world.now), SECOND * 9);
    for (name, secret) in [("PHONE-1", "that of another tenant"), ("PHONE-2", "its password")] {
        let other = world.logins.credentials(name.as_bytes(), secret.as_bytes());
        assert_eq!(world.logins.hold(other, world.now), Duration::ZERO, "{name}: {secret}");
    }
    world.now += SECOND * 9;
    assert_eq!(world.logins.hold(flapper, world.now), Duration::ZERO);
}

#[test]
fn two_places_that_take_an_account_from_each_other_raise_one_alarm() {
    let mut world = World::new();
    let agent = AgentId(7);
    let alarms = |world: &mut World, takeovers: usize, every: Duration| {
        (0..takeovers)
            .filter(|_| {
                world.now += every;
                world.logins.taken_over(agent, world.now)
            })
            .count()
    };
    assert_eq!(alarms(&mut world, 100, SECOND * 30), 0, "a bad network");
    assert_eq!(alarms(&mut world, 100, SECOND * 2), 1, "two phones with the same password");
    assert_eq!(alarms(&mut world, 100, SECOND * 2), 0, "the same again is no news");
    assert!(!world.logins.taken_over(AgentId(8), world.now));
}

#[test]
fn limits_that_are_off_ban_and_hold_nobody() {
    let mut logins = Logins::new(LoginLimits::default());
    let (now, account, credentials) = (Clock::System.instant(), logins.account(b"x"), logins.credentials(b"x", b"y"));
    for _ in 0..10_000 {
        logins.connected(credentials, now);
        let failed = logins.failed(at("192.0.2.1"), account, now);
        assert_eq!(failed, Failed { delay: Duration::ZERO, is_banned_now: false });
    }
    assert_eq!(logins.may_try(at("192.0.2.1"), account, now), Ok(()));
    assert_eq!(logins.hold(credentials, now), Duration::ZERO);
}
