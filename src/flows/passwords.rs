//! Passwords of people: argon2id, computed off the event loop, a few at a time, on threads that give way to all others. Refuses to queue without end.

use std::sync::Arc;

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use tokio::sync::{Semaphore, oneshot};
use zeroize::Zeroizing;

/// Hashes computed at once: each takes 19 MiB and some tens of milliseconds of a core.
const AT_ONCE_MAX: usize = 2;
/// Requests that wait for one.
const WAITING_MAX: usize = 64;
/// How nice the threads are that compute: a flood of logins must not hold up devices.
const NICENESS: i32 = 19;
/// Characters of a password.
pub const PASSWORD_CHARS_MIN: usize = 10;
/// Bytes of a password.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// More people log in at once than [`WAITING_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many people log in at once")]
pub struct Crowded;

/// The bounded pool that computes password hashes.
pub struct Passwords {
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(WAITING_MAX + AT_ONCE_MAX)),
            turns: Arc::new(Semaphore::new(AT_ONCE_MAX)),
        }
    }
}

impl Passwords {
    /// The text to store instead of the password.
    ///
    /// # Errors
    /// Too many wait already.
    pub async fn hash(&self, password: &str) -> Result<String, Crowded> {
        let password = Zeroizing::new(password.to_owned());
        let hashed =
            self.compute(move || Argon2::default().hash_password(password.as_bytes()).map(|it| it.to_string()));
        // An error means that the system gave no randomness or no memory; a later attempt may do better.
        hashed.await?.map_err(|_| Crowded)
    }

    /// Whether the password is the stored one. Without a stored one it takes as long and is wrong.
    ///
    /// # Errors
    /// Too many wait already.
    pub async fn verify(&self, password: &str, stored: Option<String>) -> Result<bool, Crowded> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Ok(false);
        }
        let password = Zeroizing::new(password.to_owned());
        self.compute(move || match stored.as_deref().map(PasswordHash::new) {
            Some(Ok(stored)) => Argon2::default().verify_password(password.as_bytes(), &stored).is_ok(),
            _ => {
                // The work, so that nobody learns from the time whether the login exists.
                let _ = Argon2::default().hash_password(password.as_bytes());
                false
            }
        })
        .await
    }

    async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Crowded> {
        let _place = self.places.clone().try_acquire_owned().map_err(|_| Crowded)?;
        // The permit lives as long as the work, also when the request was given up meanwhile.
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| Crowded)?;
        let (answer, answered) = oneshot::channel();
        let computed = std::thread::Builder::new().name("password".to_owned()).spawn(move || {
            // On Linux this is about the calling thread alone. Where it is forbidden, people weigh as much as devices.
            let _ = rustix::process::nice(NICENESS);
            drop(answer.send(work()));
            drop(turn);
        });
        computed.map_err(|_| Crowded)?;
        answered.await.map_err(|_| Crowded)
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
        assert_eq!(pool.verify("correct horse", Some(stored.clone())).await, Ok(true));
        assert_eq!(pool.verify("correct horse ", Some(stored)).await, Ok(false));
        assert_eq!(pool.verify("correct horse", None).await, Ok(false));
        assert_eq!(pool.verify("correct horse", Some("garbage".into())).await, Ok(false));
    }
}
