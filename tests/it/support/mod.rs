//! What the stories stand on: a server of their own, phones that speak MQTT byte by byte, and stock clients.
#![allow(dead_code)]

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use mdmq::clock::Clock;

pub mod apk;
pub mod certified;
pub mod clients;
pub mod contents;
pub mod enrollment;
pub mod mailbox;
pub mod mariadb;
pub mod openssl;
pub mod phone;
pub mod postgres;
pub mod random;
pub mod server;
pub mod sqlite;
pub mod stranger;
pub mod wire;

pub use phone::Phone;
pub use server::Server;

/// How long a story waits for something that ought to happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Writes a file with a secret, as an operator should.
pub fn write_private(file: &Path, text: &str) {
    fs::write(file, text).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Asks again and again until the answer is yes; panics with `what` when patience ends.
pub async fn until<F: AsyncFnMut() -> bool>(what: &str, mut condition: F) {
    let deadline = Clock::System.instant() + PATIENCE;
    while !condition().await {
        assert!(Clock::System.instant() < deadline, "waited {PATIENCE:?} in vain until {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
