//! What one change costs the store in processor time, in batches of 50 on SQLite: `cargo run --example store_cost`.
//! Run it on a quiet machine; it prints figures and judges nothing.
#![allow(clippy::unwrap_used)]

use mdmq::{
    clock::{Clock, Timestamp},
    config::Database,
    ids::{AgentId, ConnectionNumber},
    mdm::change::Change,
    store::{Store, db::Statement},
};
use tokio::sync::mpsc;

const AGENTS: i64 = 10_000;
const BATCH: i64 = 50;
const BATCHES: i64 = 1_000;

/// User and system time of this process in milliseconds; the kernel counts in hundredths of a second.
fn processor_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) * 10
}

async fn measured(store: &Store, name: &str, change: impl Fn(i64) -> Change) {
    let (begun, started) = (processor_ms(), Clock::System.instant());
    for batch in 0..BATCHES {
        let (tell, mut told) = mpsc::unbounded_channel();
        for n in 0..BATCH {
            let tell = tell.clone();
            store.submit(vec![change(batch * BATCH + n)], move |outcome| tell.send(outcome).unwrap());
        }
        for _ in 0..BATCH {
            told.recv().await.unwrap().unwrap();
        }
    }
    let (spent, took) = (processor_ms() - begun, Clock::System.instant().duration_since(started));
    let changes = (BATCHES * BATCH) as f64;
    println!(
        "{name}: {:.2} µs of processor per change, {BATCHES} batches of {BATCH} in {took:?}",
        spent as f64 * 1000.0 / changes
    );
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let dir = tempfile::tempdir().unwrap();
    let key = mdmq::mdm::audit::AuditKey::new([7; 32]);
    let store = Store::open(&Database::default(), dir.path(), Clock::System, key, |_| {}).await.unwrap();
    let made = store.write(|tx| {
        Box::pin(async move {
            for n in 0..AGENTS {
                let serial = format!("S{n}");
                let computer = "insert into computer (entity_id, serial, created_at) values (0, $1, 1)";
                tx.execute(Statement::new(computer, [serial.clone().into()])).await?;
                let agent = "insert into agent (entity_id, serial, computer_id, fleet_id, created_at) \
                     values (0, $1, $2, 1, 1)";
                tx.execute(Statement::new(agent, [serial.into(), (n + 1).into()])).await?;
            }
            Ok(())
        })
    });
    made.await.unwrap();
    // A stride, so that a batch touches many pages, as a fleet does.
    let agent = |n: i64| AgentId(n * 7919 % AGENTS + 1);
    for _ in 0..2 {
        measured(&store, "seen", |n| Change::Seen { agent: agent(n), at: Timestamp(n) }).await;
        measured(&store, "presence", |n| Change::Presence {
            agent: agent(n),
            is_online: n / AGENTS % 2 == 0,
            connection: ConnectionNumber(n),
            at: Timestamp(n),
        })
        .await;
    }
    store.close().await.unwrap();
}
