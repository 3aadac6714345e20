//! Both ends of the chain: the last entries cut off, others invented before the first, and the oldest forgotten by a clock that may be wrong.

use std::fs;

use mdmq::{clock::Timestamp, store::audit::EntryFilter};
use serde_json::Value;

use super::{lines, verdict};
use crate::{
    store::{did, on_both},
    support::{Server, postgres, sqlite, until},
};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// 2026-11-01.
const NOW_MS: i64 = 1_793_491_200_000;

/// A server, and whoever can write its database: nothing stops him.
struct Place {
    server: Server,
    url: Option<String>,
}

impl Place {
    async fn on_each_engine() -> [Place; 2] {
        let url = postgres::fresh_database();
        let on_postgres = Server::with(&[("MDMQ_DATABASE__URL", &url)]).await;
        [Place { server: Server::start().await, url: None }, Place { server: on_postgres, url: Some(url) }]
    }

    async fn tampers(&self, statement: &str) {
        match &self.url {
            Some(url) => postgres::execute(url, statement),
            None => sqlite::execute_text(&self.server, statement.to_owned()).await,
        }
    }

    async fn lifts_the_triggers(&self) {
        if self.url.is_some() {
            return self.tampers("alter table audit disable trigger all").await;
        }
        for trigger in ["audit_is_never_changed", "audit_is_never_shortened"] {
            self.tampers(&format!("drop trigger {trigger}")).await;
        }
    }

    /// The number in the file outside the database.
    fn kept(&self) -> Value {
        let text = fs::read(self.server.data_dir().join("audit-head.json")).unwrap_or_default();
        serde_json::from_slice::<Value>(&text).map_or(Value::Null, |it| it["number"].clone())
    }

    async fn until_log_has(&self, words: &str) {
        until(words, async || self.server.log().contains(words)).await;
    }
}

#[tokio::test]
async fn a_cut_off_end_stays_known_while_the_server_runs_and_after() {
    for mut place in Place::on_each_engine().await {
        for name in ["a", "b", "c"] {
            place.server.fleet(name).await;
        }
        until("the file has the last entry", async || place.kept() == 3).await;
        place.lifts_the_triggers().await;
        place.tampers("delete from audit where number = 3").await;
        place.until_log_has("the audit was cut: entries were written up to 3").await;
        assert_eq!(place.kept(), 3, "the file does not go back");
        let found = verdict(&place.server).await;
        assert!(found.contains("entries were written up to 3; the last ones are missing"), "{found}");

        // A writer that must connect again does not take the place of what is gone.
        if let Some(url) = &place.url {
            postgres::stop_database(url);
            postgres::start_database(url);
            let connects = async || place.server.cli_output(&["fleet", "add", "d"]).await.status.success();
            until("the database is back", connects).await;
        } else {
            place.server.fleet("d").await;
        }
        let found = verdict(&place.server).await;
        assert!(found.contains("entry 3 is missing"), "{found}");

        place.server.restart().await;
        assert_eq!(place.kept(), 3);
        place.server.fleet("e").await;
        let found = verdict(&place.server).await;
        assert!(found.contains("entry 3 is missing"), "{found}");
        assert_eq!(place.server.log().matches("the audit was cut").count(), 2, "once for each start");
    }
}

#[tokio::test]
async fn an_entry_that_is_cut_off_before_the_file_knows_it_is_missed_after_a_restart() {
    for mut place in Place::on_each_engine().await {
        place.lifts_the_triggers().await;
        place.server.fleet("a").await;
        place.server.fleet("evil").await;
        place.tampers("delete from audit where number = 2").await;
        let found = verdict(&place.server).await;
        assert!(found.contains("entries were written up to 2"), "{found}");
        place.server.restart().await;
        place.server.fleet("b").await;
        let found = verdict(&place.server).await;
        assert!(found.contains("entry 2 is not the one that was written"), "{found}");
    }
}

#[tokio::test]
async fn a_missing_file_is_told_of_until_the_next_start() {
    let mut server = Server::start().await;
    server.fleet("a").await;
    assert!(!verdict(&server).await.contains("cannot be told"));
    assert!(server.stop().await.success());
    fs::remove_file(server.data_dir().join("audit-head.json")).unwrap();
    server.start_again().await;
    let found = verdict(&server).await;
    assert!(found.contains("whether the last ones were cut off cannot be told"), "{found}");
    assert!(found.contains("begun anew with entry 1"), "{found}");
    assert!(server.log().contains("audit-head.json is missing or damaged"));
    server.restart().await;
    assert!(!verdict(&server).await.contains("cannot be told"));
}

#[tokio::test]
async fn entries_before_the_first_are_refused_not_listed_and_found() {
    for place in Place::on_each_engine().await {
        place.server.fleet("a").await;
        let invented = |number: i64| {
            format!(
                "insert into audit select {number}, at, actor_kind, 'ann', peer, action, subject_kind, subject, serial, entity_id, \
                 detail, previous, hash from audit where number = 1"
            )
        };
        if let Some(url) = &place.url {
            let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(url).await.unwrap();
            let refused = sqlx::query(sqlx::AssertSqlSafe(invented(0))).execute(&mut connection).await.unwrap_err();
            assert!(refused.to_string().contains("audit_begins_with_1"), "{refused}");
            place.tampers("alter table audit drop constraint audit_begins_with_1").await;
        } else {
            let refused = sqlite::refusal(
                &place.server,
                "insert into audit select 0, at, '', '', '', '', '', '', '', null, '', '', '' from audit",
            )
            .await;
            assert!(refused.contains("begins with entry 1"), "{refused}");
            place.tampers("drop trigger audit_begins_with_1").await;
        }
        for number in [0, i64::MIN] {
            place.tampers(&invented(number)).await;
            assert_eq!(lines(&place.server).await.len(), 1, "what is not of the chain is not listed");
            let found = verdict(&place.server).await;
            assert!(found.contains(&format!("entry {number} is not of this chain")), "{found}");
        }
    }
}

/// What is left of entries that were written at these times, of which those of the last two days are to be kept.
fn check_left(times: &[i64], now: i64, left: &[i64]) {
    on_both(async |place| {
        let store = place.open().await.unwrap();
        for (at, number) in times.iter().zip(1_i64..) {
            let insert = "insert into audit values ($1, $2, 'system', '', '', 'fleet.add', '', '', '', null, '{}', '', '') \
                          returning number";
            did(&store, insert, vec![number.into(), (*at).into()]).await;
        }
        store.prune_audit(1000, 2 * DAY_MS, Timestamp(now)).await.unwrap();
        let filter =
            EntryFilter { after: Some(0), action: Some("fleet.add".into()), limit: 100, ..EntryFilter::default() };
        let found: Vec<i64> = store.audit_entries(&filter).await.unwrap().iter().map(|it| it.number).collect();
        assert_eq!(found, left, "{times:?} at {now}");
        store.close().await.unwrap();
    });
}

#[test]
#[rustfmt::skip]
fn only_the_oldest_entries_are_forgotten_whatever_the_clock_said() {
    let old = NOW_MS - 3 * DAY_MS;
    let young = NOW_MS - DAY_MS;
    check_left(&[old, old, young, NOW_MS],           NOW_MS, &[3, 4]);
    check_left(&[young, young, NOW_MS],              NOW_MS, &[1, 2, 3]);
    // A start before the network told the time: nothing goes that is not old, neither before nor after that entry.
    check_left(&[old, young, young, 1000, NOW_MS],   NOW_MS, &[2, 3, 4, 5]);
    check_left(&[old, young, young, 1000],           NOW_MS, &[2, 3, 4]);
    check_left(&[1000, young, NOW_MS],               NOW_MS, &[1, 2, 3]);
    check_left(&[1000, old, 1000, young, NOW_MS],    NOW_MS, &[3, 4, 5]);
    // The clock is ahead for a moment: it makes nothing old.
    let ahead = NOW_MS + 10_000 * DAY_MS;
    check_left(&[young, young, NOW_MS],              ahead,  &[1, 2, 3]);
    check_left(&[young, NOW_MS, ahead - 1000],       ahead,  &[1, 2, 3]);
    // Once it is that late for an hour, it is believed.
    check_left(&[young, ahead - HOUR_MS, ahead],     ahead,  &[2, 3]);
    // What was written under such a clock holds nothing back for ever.
    check_left(&[old, ahead, old, young, NOW_MS],    NOW_MS, &[4, 5]);
    check_left(&[ahead, old, young, NOW_MS],         NOW_MS, &[3, 4]);
    // And where all of it is old, nothing is known of today.
    check_left(&[old, old],                          NOW_MS, &[1, 2]);
}
