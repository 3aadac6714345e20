//! Delivers the mails of invitations. The queue is rows, so it survives everything; a mail that was handed over just before a crash is
//! sent once more, because that is better than not at all.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinSet};
use tracing::{info, warn};

use super::{Flows, invite::InvitationView};
use crate::{
    clock::Timestamp,
    ids::InvitationId,
    mail::{Letter, Mailer, NotSent, Words},
    mdm::help_desk::web_link,
    metrics::Outcome,
    qr,
    store::{StoreError, invitation as sql},
};

/// Longest pause between two attempts.
const RETRY_AFTER_S_MAX: u64 = 6 * 3600;
/// How long nobody looks at an empty queue.
const IDLE: Duration = Duration::from_secs(60);
/// Pause after the database failed.
const STORE_PAUSE: Duration = Duration::from_secs(5);
/// Attempts to write down what became of a mail.
const NOTE_ATTEMPTS_MAX: u32 = 12;

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    Sent,
    Again { at: Timestamp, reason: String },
    Failed { reason: String },
}

impl Flows {
    /// Sends what is queued until told to stop, then finishes what is on its way.
    pub async fn deliver_mails(self: Arc<Self>, mailer: Mailer, mut stopped: watch::Receiver<bool>) {
        let mailer = Arc::new(mailer);
        let mut going: JoinSet<()> = JoinSet::new();
        let mut in_hand: HashMap<tokio::task::Id, InvitationId> = HashMap::new();
        loop {
            let pause = match self.start_due(&mailer, &mut going, &mut in_hand).await {
                Ok(pause) => pause,
                Err(problem) => {
                    warn!("cannot look for mails to send: {problem}");
                    STORE_PAUSE
                }
            };
            tokio::select! {
                _ = stopped.wait_for(|it| *it) => break,
                Some(ended) = going.join_next_with_id(), if !going.is_empty() => {
                    let id = ended.map_or_else(|broken| broken.id(), |(id, ())| id);
                    in_hand.remove(&id);
                }
                () = self.mail_waits.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        while going.join_next().await.is_some() {}
    }

    /// Starts as many as may be on their way at once; answers when to look again.
    async fn start_due(
        self: &Arc<Self>,
        mailer: &Arc<Mailer>,
        going: &mut JoinSet<()>,
        in_hand: &mut HashMap<tokio::task::Id, InvitationId>,
    ) -> Result<Duration, StoreError> {
        let now = self.clock.now();
        let max = usize::from(self.config.mail.connections_max);
        let free = max.saturating_sub(going.len());
        let asked = i64::try_from(free + in_hand.len()).unwrap_or(i64::MAX);
        let due = self.store.rows(sql::due(now, asked)).await?;
        let due = due.iter().map(|row| sql::view(row, now));
        let fresh: Vec<InvitationView> = due.filter(|it| !in_hand.values().any(|id| *id == it.id)).take(free).collect();
        for view in fresh {
            let (flows, mailer, id) = (self.clone(), mailer.clone(), view.id);
            let task = going.spawn(async move { flows.deliver_mail(&mailer, view).await });
            in_hand.insert(task.id(), id);
        }
        let next = self.store.row(sql::next_due(now)).await?.and_then(|row| row.opt_int("at"));
        let pause_ms = next.map_or(u64::MAX, |at| u64::try_from(at - now.0).unwrap_or(0));
        Ok(Duration::from_millis(pause_ms).min(IDLE))
    }

    async fn deliver_mail(&self, mailer: &Mailer, view: InvitationView) {
        let outcome = match self.letter(&view).await {
            Ok(Ok(letter)) => mailer.send(letter).await,
            Ok(Err(reason)) => Err(NotSent { reason, is_final: true }),
            Err(problem) => Err(NotSent { reason: problem.to_string(), is_final: false }),
        };
        let fate = self.fate(outcome, view.mail_attempts);
        let id = view.id;
        let name = match &fate {
            Fate::Sent => {
                info!(invitation.id = %id, "the mail of invitation {id} was sent");
                "sent"
            }
            Fate::Again { reason, .. } => {
                warn!(invitation.id = %id, "the mail of invitation {id} must wait: {reason}");
                "postponed"
            }
            Fate::Failed { reason } => {
                warn!(invitation.id = %id, "the mail of invitation {id} is given up: {reason}");
                "failed"
            }
        };
        self.metrics.mails.get_or_create(&Outcome { outcome: name }).inc();
        for _ in 0..NOTE_ATTEMPTS_MAX {
            match self.note_fate(id, fate.clone()).await {
                Ok(()) => return,
                Err(problem) => warn!("cannot write down what became of the mail of invitation {id}: {problem}"),
            }
            tokio::time::sleep(STORE_PAUSE).await;
        }
    }

    fn fate(&self, outcome: Result<(), NotSent>, attempts: i64) -> Fate {
        let settings = &self.config.mail;
        match outcome {
            Ok(()) => Fate::Sent,
            Err(NotSent { reason, is_final }) if is_final || attempts + 1 >= i64::from(settings.attempts_max) => {
                Fate::Failed { reason }
            }
            Err(NotSent { reason, .. }) => {
                Fate::Again { at: self.clock.now().after(pause_after(attempts, settings.retry_after_s)), reason }
            }
        }
    }

    async fn note_fate(&self, id: InvitationId, fate: Fate) -> Result<(), StoreError> {
        self.store
            .write(move |tx| {
                Box::pin(async move {
                    match fate {
                        Fate::Sent => sql::note_attempt(tx, id, "sent", None, "").await,
                        Fate::Again { at, reason } => sql::note_attempt(tx, id, "queued", Some(at), &reason).await,
                        Fate::Failed { reason } => sql::note_attempt(tx, id, "failed", None, &reason).await,
                    }
                })
            })
            .await
    }

    /// What is written to the invited person, or why nothing is any more.
    async fn letter(&self, view: &InvitationView) -> Result<Result<Letter, String>, StoreError> {
        if view.status != "pending" {
            return Ok(Err(format!("the invitation is {}", view.status)));
        }
        if !self.tokens_are_ours(view) {
            return Ok(Err("its token is not known here".into()));
        }
        let help_desk = self.help_desk(view.entity).await?;
        let deeplink = self.deeplink(view, &help_desk);
        let qr_png = match qr::png(&deeplink) {
            Ok(picture) => picture,
            Err(problem) => return Ok(Err(problem.to_string())),
        };
        let words = Words {
            email: view.email.clone(),
            firstname: view.firstname.clone(),
            lastname: view.lastname.clone(),
            invited_by: view.invited_by.clone(),
            download_link: web_link(&help_desk.download_url).to_owned(),
            website_link: web_link(&help_desk.website).to_owned(),
            page_url: self.page_url(view, &help_desk),
            help_desk,
            deeplink,
            expires_at: format!("{} UTC", view.until.glpi()),
            ..Words::default()
        };
        Ok(Ok(Letter { words, qr_png }))
    }
}

/// Doubles with each attempt.
fn pause_after(attempts: i64, first_s: u32) -> Duration {
    let doublings = u32::try_from(attempts).unwrap_or(u32::MAX).min(20);
    Duration::from_secs((u64::from(first_s) << doublings).min(RETRY_AFTER_S_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_six_hours() {
        let pauses: Vec<u64> = (0..12).map(|attempt| pause_after(attempt, 60).as_secs()).collect();
        assert_eq!(pauses[..5], [60, 120, 240, 480, 960]);
        assert_eq!(pauses[11], 6 * 3600);
        assert_eq!(pause_after(i64::MAX, u32::MAX).as_secs(), 6 * 3600);
    }
}
