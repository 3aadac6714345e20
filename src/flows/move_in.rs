//! Moving in from Flyve: its database is read, what it means here is written, and devices that reconnect notice nothing.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use serde::Deserialize;
use tracing::info;

use super::{Flows, passwords, secrets};
pub use crate::store::{administer::Answer, flyve::Report};
use crate::{
    clock::Timestamp,
    config::Secret,
    ids::AgentId,
    mdm::audit::{Action, Deed, Subject},
    store::{
        administer::Refused,
        audit,
        flyve::{self, Hashes, Secrets, Source},
    },
};

/// From where, and how.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MoveWish {
    /// `mysql://user@host/database`.
    pub from: Secret,
    /// Its password, where the address does not hold it.
    #[serde(default)]
    pub password: Secret,
    /// The directory `files/_plugins/flyvemdm` of GLPI; none: no file and no package comes.
    pub files: Option<PathBuf>,
    /// Only say what would happen.
    #[serde(default)]
    pub dry_run: bool,
}

impl Flows {
    /// Takes a Flyve database over: all of it or nothing. A second run brings what changed since.
    ///
    /// # Errors
    /// Our database failed.
    pub async fn move_in(self: &Arc<Self>, wish: MoveWish) -> Answer<Report> {
        let there = |problem: flyve::SourceError| Refused::Conflict(problem.to_string());
        let password = Some(wish.password.0.as_str()).filter(|it| !it.is_empty());
        let mut source = match Source::open(&wish.from.0, password).await {
            Ok(source) => source,
            Err(problem) => return Ok(Err(there(problem))),
        };
        let hashes = Hashes { of_device: secrets::is_imported_hash, of_person: passwords::imported };
        let mut prepared = match flyve::prepare(&mut source, hashes, wish.dry_run).await {
            Ok(prepared) => prepared,
            Err(problem) => return Ok(Err(there(problem))),
        };
        let (name, now, secrets) = (prepared.source.clone(), self.clock.now(), self.secrets_of_a_move());
        let contents = self.store.take_contents(&mut prepared, wish.files.as_deref()).await?;
        let (found, is_dry) = (contents.found, wish.dry_run);
        let story = self.store.write_with_contents(contents.incoming, move |tx| {
            Box::pin(async move {
                let moved = flyve::move_in(tx, prepared, found, secrets, now).await?;
                if let Ok(moved) = &moved
                    && !is_dry
                {
                    let deed = Deed::new(Action::MoveIn, Subject::Server)
                        .with("from", moved.report.source.as_str())
                        .with("taken", summary(&moved.report));
                    audit::append(tx, deed).await?;
                }
                Ok(moved)
            })
        });
        let mut moved = match story.await? {
            Ok(moved) => moved,
            Err(refused) => return Ok(Err(refused)),
        };
        self.store.discard(std::mem::take(&mut moved.let_go)).await?;
        if !wish.dry_run {
            self.policies_changed(&moved.touched);
            self.read_pending_packages().await?;
        }
        self.agents_changed(&moved.agents);
        let computers: HashMap<i64, i64> = std::mem::take(&mut moved.computers);
        let positions = self.store.move_positions(&mut source, &name, &computers, &mut moved.report, now).await?;
        source.close().await;
        info!(dry_run = wish.dry_run, "moved in from {}: {}", moved.report.source, summary(&moved.report));
        Ok(positions.map(|()| moved.report))
    }

    fn secrets_of_a_move(&self) -> Secrets {
        let (hashing, deriving) = (self.secret_key.clone(), self.secret_key.clone());
        Secrets {
            hash: Arc::new(move |token: &str| hashing.hash(token)),
            agent_token: Arc::new(move |agent: AgentId, at: Timestamp| deriving.agent_token(agent, at)),
        }
    }
}

fn summary(report: &Report) -> String {
    let kinds = report.taken.iter().map(|(kind, it)| format!("{kind} {}+{}-{}", it.added, it.updated, it.skipped));
    kinds.collect::<Vec<_>>().join(", ")
}
