//! Sessions of service accounts: who gets a place for one, and when it ends.

use std::{sync::Arc, time::Duration};

use super::*;
use crate::broker::outbox::OutboxBounds;

const LIFE: Duration = Duration::from_secs(60);
const BACKEND: i64 = 1;
const OTHER: i64 = 2;

fn hub(sessions_max: usize, per_account_max: usize) -> Hub {
    Hub::new(1, SessionBounds { sessions_max, per_account_max }, Retained::new(1, 1))
}

fn key(account: i64, client_id: &str) -> SessionKey {
    (AccountId(account), client_id.into())
}

/// The number of the session, or why there is none.
fn claim(hub: &Hub, account: i64, client_id: &str, is_clean: bool) -> Result<u64, &'static str> {
    let outbox = Arc::new(Outbox::new(OutboxBounds { messages_max: 1, bytes_max: 1 }));
    match hub.claim_service(&key(account, client_id), is_clean, &outbox) {
        Claim::Claimed { number, .. } => Ok(number),
        Claim::Held => Err("held"),
        Claim::Full => Err("full"),
    }
}

/// Comes and goes, and its session stays.
fn parks(hub: &Hub, account: i64, client_id: &str) {
    let number = claim(hub, account, client_id, false).unwrap();
    hub.leave_service(&key(account, client_id), number, Some(Saved::default()));
}

#[test]
fn only_sessions_that_outlive_their_connections_take_places() {
    let hub = hub(2, 2);
    for client_id in ["a", "b", "c"] {
        claim(&hub, BACKEND, client_id, true).unwrap();
    }
    assert_eq!((hub.sessions(), hub.persistent_sessions()), (3, 0));
    claim(&hub, BACKEND, "d", false).unwrap();
    parks(&hub, BACKEND, "e");
    assert_eq!(claim(&hub, BACKEND, "f", false), Err("full"));
    claim(&hub, BACKEND, "f", true).unwrap();
    claim(&hub, BACKEND, "e", false).unwrap(); // its own place
}

#[test]
fn a_session_that_is_forgotten_gives_its_place_back() {
    let hub = hub(1, 1);
    parks(&hub, BACKEND, "a");
    let number = claim(&hub, BACKEND, "a", true).unwrap(); // a clean session takes the place of the kept one
    assert_eq!(hub.persistent_sessions(), 0);
    hub.leave_service(&key(BACKEND, "a"), number, None);
    let number = claim(&hub, BACKEND, "b", false).unwrap();
    hub.leave_service(&key(BACKEND, "b"), number, None);
    parks(&hub, BACKEND, "c");
    hub.revoke_account(AccountId(BACKEND));
    assert_eq!((hub.sessions(), hub.persistent_sessions()), (0, 0));
}

#[test]
fn no_account_takes_all_places() {
    let hub = hub(3, 2);
    parks(&hub, BACKEND, "a");
    parks(&hub, BACKEND, "b");
    assert_eq!(claim(&hub, BACKEND, "c", false), Err("full"));
    parks(&hub, OTHER, "a");
    assert_eq!(claim(&hub, OTHER, "b", false), Err("full"));
}

#[test]
fn a_session_that_nobody_came_back_to_ends() {
    let hub = hub(2, 2);
    parks(&hub, BACKEND, "a");
    claim(&hub, BACKEND, "here", false).unwrap();
    let after = |ms| Timestamp(ms);
    assert_eq!(hub.expire_sessions(after(0), LIFE), 0, "from now on it waits");
    assert_eq!(hub.expire_sessions(after(59_999), LIFE), 0);
    parks(&hub, BACKEND, "a"); // it came back in time
    assert_eq!(hub.expire_sessions(after(60_000), LIFE), 0);
    assert_eq!(hub.expire_sessions(after(119_999), LIFE), 0);
    assert_eq!(hub.expire_sessions(after(120_000), LIFE), 1);
    assert_eq!((hub.sessions(), hub.persistent_sessions()), (1, 1), "who is connected stays");
}

#[test]
fn the_session_of_a_revoked_account_does_not_wait_whatever_ended_its_connection() {
    let hub = hub(2, 2);
    for has_been_taken_over in [false, true] {
        let number = claim(&hub, BACKEND, "a", false).unwrap();
        if has_been_taken_over {
            assert_eq!(claim(&hub, BACKEND, "a", false), Err("held"));
        }
        hub.revoke_account(AccountId(BACKEND));
        hub.leave_service(&key(BACKEND, "a"), number, Some(Saved::default()));
        assert_eq!((hub.sessions(), hub.persistent_sessions()), (0, 0));
    }
}
