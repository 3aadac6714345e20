//! Passwords of people: argon2id, computed off the event loop, a few at a time, on threads that give way to all others. Refuses to
//! queue without end. Hashes of bcrypt, which came from GLPI, are good for one login, which replaces them.

use std::{ops::Range, sync::Arc};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use tokio::sync::{Semaphore, oneshot};
use zeroize::Zeroizing;

use crate::cores;

/// Hashes computed at once, where there are cores for it: each takes 19 MiB and some tens of milliseconds of a core.
const AT_ONCE_MAX: usize = 2;
/// Requests that wait for one.
const WAITING_MAX: usize = 64;
/// How nice the threads are that compute: a flood of logins must not hold up devices.
const NICENESS: i32 = 19;
/// Characters of a password.
pub const PASSWORD_CHARS_MIN: usize = 10;
/// Bytes of a password.
pub const PASSWORD_BYTES_MAX: usize = 1024;
/// Each step of the cost doubles the work: this is about a second. PHP's own choice is 10, later 12.
const BCRYPT_COST_MAX: u32 = 14;
/// Characters of a hash of bcrypt: `$2y$10$`, 22 of salt, 31 of hash.
const BCRYPT_CHARS: usize = 60;

/// More people log in at once than [`WAITING_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many people log in at once")]
pub struct Crowded;

/// What a password turned out to be.
#[derive(Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Another one.
    Wrong,
    /// The stored one.
    Right,
    /// The stored one, of which this should be stored from now on.
    Outdated(String),
}

/// Whether a hash of PHP's `password_hash` can be verified here.
///
/// # Errors
/// Why it cannot, behind "the password".
pub fn imported(stored: &str) -> Result<(), &'static str> {
    let is_sound = |it: &str| it.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'/'));
    match cost(stored).filter(|_| stored.len() == BCRYPT_CHARS && stored.get(7..).is_some_and(is_sound)) {
        None => Err("is no bcrypt hash, as very old GLPIs wrote them"),
        Some(cost) if cost > BCRYPT_COST_MAX => Err("has a bcrypt cost that makes each login take many seconds"),
        Some(_) => Ok(()),
    }
}

/// The cost of a hash of bcrypt that begins like this.
fn cost(stored: &str) -> Option<u32> {
    let rest = ["$2y$", "$2b$", "$2a$"].iter().find_map(|it| stored.strip_prefix(it))?;
    let (cost, _) = rest.split_once('$')?;
    let is_sound = cost.len() == 2 && cost.bytes().all(|it| it.is_ascii_digit());
    cost.parse().ok().filter(|_| is_sound)
}

/// The highest cost of imported hashes that begin like these; 0 without one.
pub fn heaviest(starts: &[String]) -> u32 {
    starts.iter().filter_map(|it| cost(it)).filter(|it| *it <= BCRYPT_COST_MAX).max().unwrap_or_default()
}

/// The bounded pool that computes password hashes.
pub struct Passwords {
    /// How many may be computed or wait.
    places_max: usize,
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        let at_once = cores::threads_aside().min(AT_ONCE_MAX);
        let places_max = WAITING_MAX + at_once;
        let (places, turns) = (Arc::new(Semaphore::new(places_max)), Arc::new(Semaphore::new(at_once)));
        Self { places_max, places, turns }
    }
}

impl Passwords {
    /// How many are computed or wait for it now.
    pub fn in_progress(&self) -> usize {
        self.places_max - self.places.available_permits()
    }

    /// The text to store instead of the password.
    ///
    /// # Errors
    /// Too many wait already.
    pub async fn hash(&self, password: &str) -> Result<String, Crowded> {
        let password = Zeroizing::new(password.to_owned());
        // None means that the system gave no randomness or no memory; a later attempt may do better.
        self.compute(move || hashed(&password)).await?.ok_or(Crowded)
    }

    /// Whether the password is the stored one. What is wrong takes as long with a stored one as without, of whatever kind that is:
    /// `heaviest` is the highest cost of any imported hash.
    ///
    /// # Errors
    /// Too many wait already.
    pub async fn verify(&self, password: &str, stored: Option<String>, heaviest: u32) -> Result<Verdict, Crowded> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Ok(Verdict::Wrong);
        }
        let password = Zeroizing::new(password.to_owned());
        self.compute(move || judged(&password, stored.as_deref(), heaviest)).await
    }

    async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Crowded> {
        let _place = self.places.clone().try_acquire_owned().map_err(|_| Crowded)?;
        // The permit lives as long as the work, also when the request was given up meanwhile.
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| Crowded)?;
        let (answer, answered) = oneshot::channel();
        let computed = std::thread::Builder::new().name("password".to_owned()).spawn(move || {
            cores::step_aside(NICENESS);
            drop(answer.send(work()));
            drop(turn);
        });
        computed.map_err(|_| Crowded)?;
        answered.await.map_err(|_| Crowded)
    }
}

fn hashed(password: &str) -> Option<String> {
    Argon2::default().hash_password(password.as_bytes()).ok().map(|it| it.to_string())
}

fn judged(password: &str, stored: Option<&str>, heaviest: u32) -> Verdict {
    if let Some(stored) = stored.filter(|it| imported(it).is_ok()) {
        let is_right = bcrypt::verify(password, stored).unwrap_or_default();
        // Where no new hash could be made, the next login tries again.
        let renewed = hashed(password);
        if is_right {
            return renewed.map_or(Verdict::Right, Verdict::Outdated);
        }
        labour(password, cost(stored), heaviest);
        return Verdict::Wrong;
    }
    let is_right = match stored.map(PasswordHash::new) {
        Some(Ok(stored)) => Argon2::default().verify_password(password.as_bytes(), &stored).is_ok(),
        // The work, so that nobody learns from the time whether the login exists.
        _ => {
            let _ = hashed(password);
            false
        }
    };
    if is_right {
        return Verdict::Right;
    }
    labour(password, None, heaviest);
    Verdict::Wrong
}

/// Does what work of bcrypt is left.
fn labour(password: &str, done: Option<u32>, heaviest: u32) {
    for cost in left(done, heaviest) {
        drop(std::hint::black_box(bcrypt::hash_with_salt(password, cost, [0; 16])));
    }
}

/// The costs that make up for the heaviest hash, where one of the cost `done` was computed: each is twice the work of the one before, so
/// two of a kind make the next.
fn left(done: Option<u32>, heaviest: u32) -> Range<u32> {
    match done {
        Some(done) => done..heaviest,
        None if heaviest > 0 => heaviest..heaviest + 1,
        None => 0..0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_is_right() {
        let pool = Passwords::default();
        let stored = pool.hash("correct horse").await.unwrap();
        assert!(stored.starts_with("$argon2id$"), "{stored}");
        assert_ne!(stored, pool.hash("correct horse").await.unwrap(), "salted");
        let check = async |password: &str, stored: Option<&str>, expected: Verdict| {
            let verdict = pool.verify(password, stored.map(str::to_owned), 4).await.unwrap();
            assert!(verdict == expected, "{password} {stored:?}");
        };
        check("correct horse", Some(&stored), Verdict::Right).await;
        check("correct horse ", Some(&stored), Verdict::Wrong).await;
        check("correct horse", None, Verdict::Wrong).await;
        check("correct horse", Some("garbage"), Verdict::Wrong).await;
    }

    #[tokio::test]
    async fn beyond_those_that_may_wait_everybody_is_sent_away_and_afterwards_nobody() {
        let pool = Arc::new(Passwords::default());
        let (open, shut) = std::sync::mpsc::channel::<()>();
        let shut = Arc::new(std::sync::Mutex::new(shut));
        // Work that ends when `open` is dropped.
        let begins = || {
            let (pool, shut) = (pool.clone(), shut.clone());
            tokio::spawn(async move { pool.compute(move || shut.lock().unwrap().recv().is_err()).await })
        };
        let reaches = async |count: usize| {
            while pool.in_progress() != count {
                tokio::task::yield_now().await;
            }
        };
        let mut working: Vec<_> = (0..pool.places_max).map(|_| begins()).collect();
        assert!(working.len() > WAITING_MAX);
        reaches(pool.places_max).await;
        for _ in 0..3 {
            assert_eq!(pool.hash("correct horse").await, Err(Crowded));
            assert!(pool.verify("correct horse", None, 0).await.is_err_and(|it| it == Crowded));
        }
        // Who hangs up while he waits makes room for one, not for two.
        working.pop().unwrap().abort();
        reaches(pool.places_max - 1).await;
        working.push(begins());
        reaches(pool.places_max).await;
        assert_eq!(pool.hash("correct horse").await, Err(Crowded));
        drop(open);
        for work in working {
            assert_eq!(work.await.unwrap(), Ok(true));
        }
        assert_eq!(pool.in_progress(), 0);
        assert!(pool.hash("correct horse").await.is_ok());
    }

    /// Hashes that others made: GLPI's of its first administrator, the one of PHP's manual, and libcrypt's.
    #[test]
    fn passwords_that_php_hashed_are_right_once_more() {
        let check = |password: &str, stored: &str, is_right: bool| match judged(password, Some(stored), 4) {
            Verdict::Outdated(renewed) => {
                assert!(is_right && renewed.starts_with("$argon2id$"), "{password} {stored}");
                assert!(judged(password, Some(&renewed), 4) == Verdict::Right);
            }
            verdict => assert!(!is_right && verdict == Verdict::Wrong, "{password} {stored}"),
        };
        let glpi = "$2y$10$rXXzbc2ShaiCldwkw4AZL.n.9QSH7c0c9XJAyyjrbL9BwmWditAYm";
        check("glpi", glpi, true);
        check("GLPI", glpi, false);
        check("", glpi, false);
        check("rasmuslerdorf", "$2a$07$usesomesillystringfore2uDLvp1Ii2e./U9C8sBjqp8I90dH6hi", true);
        check("correct horse", "$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e", true);
        // PHP reads 72 bytes of a password.
        let long = "$2y$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i";
        check(&"x".repeat(72), long, true);
        check(&"x".repeat(80), long, true);
        check(&"x".repeat(71), long, false);
    }

    #[test]
    fn every_refusal_is_the_same_work() {
        let starts = ["$2y$08$", "$argon2", "$2b$11$", "$2y$31$", ""].map(String::from);
        assert_eq!((heaviest(&starts), heaviest(&[])), (11, 0));
        let work = |done: Option<u32>, heaviest: u32| {
            done.map_or(0, |it| 1 << it) + left(done, heaviest).map(|it| 1 << it).sum::<u32>()
        };
        for done in (4..=11).map(Some).chain([None]) {
            assert_eq!(work(done, 11), 1 << 11, "{done:?}");
        }
        assert_eq!(work(None, 0), 0, "where nothing was imported there is nothing to hide");
    }

    #[test]
    fn other_hashes_are_not_taken_over() {
        let rest = "abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e";
        let check = |stored: &str, words: &str| match imported(stored) {
            Ok(()) => assert_eq!(words, "", "{stored}"),
            Err(why) => assert!(!words.is_empty() && why.contains(words), "{stored}: {why}"),
        };
        for good in ["$2y$10$", "$2b$04$", "$2a$14$"] {
            check(&format!("{good}{rest}"), "");
        }
        check(&format!("$2y$15${rest}"), "cost");
        check(&format!("$2y$31${rest}"), "cost");
        check("0915bd0a5c6e56d8f38ca2b390857d4949073f41", "no bcrypt");
        check("5f4dcc3b5aa765d61d8327deb882cf99", "no bcrypt");
        for bad in ["$2x$10$", "$2y$+9$", "$2y$010$", "$1$"] {
            check(&format!("{bad}{rest}"), "no bcrypt");
        }
        check(&format!("$2y$10${}é", &rest[2..]), "no bcrypt");
        check("", "no bcrypt");
    }
}
