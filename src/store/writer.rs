//! The one task that writes: takes everything that waits, commits it as one transaction, and then says so to everybody.
//!
//! What fails, fails alone: each story runs under a savepoint, and changes that cannot be applied together are applied
//! submission by submission. Only when the commit itself fails does everybody in the batch hear of it.

use std::{
    any::Any,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, mpsc, oneshot};

use super::{
    StoreError, apply, audit,
    db::{Engine, Statement, Story, Tx},
    merge::Merged,
};
use crate::{
    clock::{Clock, Timestamp},
    mdm::{
        audit::{Action, Actor, ActorKind, Deed},
        change::Change,
    },
};

/// Submissions that one transaction takes.
const BATCH_MAX: usize = 4096;
/// How long a batch waits for more when the one before it had company; the processor then spends less per change.
const GATHERING: Duration = Duration::from_millis(2);
/// Batches from this size on are big enough without waiting.
const BIG_BATCH: usize = 256;
/// How long a batch that nobody waits for, and that has or had company, gathers more, unless somebody who waits comes along: a fleet
/// that comes back then costs a few commits per second, and a single device is shown online at once.
const GATHERING_NOTES: Duration = Duration::from_millis(50);
/// How long the writer waits before it tries to reach a lost database again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

/// What a commit was like.
#[derive(Debug, Clone, Copy)]
pub struct BatchFigures {
    /// Submissions in the transaction.
    pub submissions: usize,
    /// How long transaction and commit took.
    pub duration: Duration,
}

pub(super) type Done = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
type Outcome = Box<dyn Any + Send>;
type AnyStory = Box<dyn for<'t> FnOnce(&'t mut Tx) -> Story<'t, Outcome> + Send>;
type StoryDone = Box<dyn FnOnce(Result<Outcome, StoreError>) + Send>;

/// What waits for the writer.
pub(super) enum Submission {
    /// Facts.
    Changes(Vec<Change>, Done),
    /// Facts whose commit nobody waits for.
    Notes(Vec<Change>, Done),
    /// A conversation with the database, on behalf of somebody.
    Story(Actor, AnyStory, StoryDone),
    /// Everything before this is to be committed, then the writer ends.
    Close(oneshot::Sender<Result<(), StoreError>>),
}

impl Submission {
    /// Hides the type of a story's answer.
    pub(super) fn story<T, F>(by: Actor, story: F, done: impl FnOnce(Result<T, StoreError>) + Send + 'static) -> Self
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> Story<'t, T> + Send + 'static,
    {
        Submission::Story(
            by,
            Box::new(move |tx| {
                Box::pin(async move {
                    let answer = story(tx).await?;
                    Ok(Box::new(answer) as Outcome)
                })
            }),
            Box::new(move |outcome| {
                done(outcome.map(|it| *it.downcast::<T>().expect("the story above boxed a T")));
            }),
        )
    }

    pub(super) fn refuse(self, error: StoreError) {
        match self {
            Submission::Changes(_, done) | Submission::Notes(_, done) => done(Err(error)),
            Submission::Story(_, _, done) => done(Err(error)),
            Submission::Close(done) => drop(done.send(Err(error))),
        }
    }
}

/// Somebody to tell when the commit is done.
type Release = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

pub(super) struct Writer {
    pub(super) engine: Engine,
    pub(super) tx: Tx,
    pub(super) clock: Clock,
    /// With the bytes of what devices said in it.
    pub(super) queue: mpsc::Receiver<(Submission, usize)>,
    /// The sum of them, which is less once they are written.
    pub(super) payload_bytes: Arc<AtomicUsize>,
    /// Rings when somebody waits for what was submitted.
    pub(super) bell: Arc<Notify>,
    pub(super) on_commit: Arc<dyn Fn(BatchFigures) + Send + Sync>,
}

impl Writer {
    /// Writes until told to close or until nobody can submit any more.
    pub(super) async fn run_until_closed(mut self) {
        let mut waiting = Vec::with_capacity(BATCH_MAX);
        let (mut last_size, mut had_company) = (0, false);
        let mut closing = None;
        while closing.is_none() {
            if (2..BIG_BATCH).contains(&last_size) && self.queue.len() < BIG_BATCH {
                tokio::time::sleep(GATHERING).await;
            }
            if self.queue.recv_many(&mut waiting, BATCH_MAX).await == 0 {
                break;
            }
            let is_crowd = had_company || waiting.len() > 1;
            if is_crowd && waiting.iter().all(|(it, _)| matches!(it, Submission::Notes(..))) {
                // A bell that rang for an earlier batch ends the wait early, which is harmless.
                drop(tokio::time::timeout(GATHERING_NOTES, self.bell.notified()).await);
                while waiting.len() < BATCH_MAX
                    && let Ok(more) = self.queue.try_recv()
                {
                    waiting.push(more);
                }
            }
            had_company = waiting.len() > 1;
            let (mut batch, mut payload_bytes) = (Vec::with_capacity(waiting.len()), 0);
            for (submission, bytes) in waiting.drain(..) {
                payload_bytes += bytes;
                match submission {
                    Submission::Close(done) => closing = Some(done),
                    Submission::Notes(changes, done) => batch.push(Submission::Changes(changes, done)),
                    other => batch.push(other),
                }
            }
            last_size = batch.len();
            self.commit(batch).await;
            self.payload_bytes.fetch_sub(payload_bytes, Ordering::Relaxed);
        }
        self.queue.close();
        while let Ok((late, _)) = self.queue.try_recv() {
            late.refuse(StoreError::Database("the server is stopping".into()));
        }
        let closed = self.tx.close().await;
        if let Some(done) = closing {
            drop(done.send(closed));
        }
    }

    async fn commit(&mut self, batch: Vec<Submission>) {
        if batch.is_empty() {
            return;
        }
        let (started, submissions) = (self.clock.instant(), batch.len());
        let only_changes = batch.iter().all(|it| matches!(it, Submission::Changes(..)));
        if let Err(error) = self.begin().await {
            batch.into_iter().for_each(|it| it.refuse(error.clone()));
            return;
        }
        let mut releases = Vec::with_capacity(submissions);
        let done = if only_changes {
            self.apply_fast(batch, &mut releases).await
        } else {
            self.apply(batch, &mut releases).await
        };
        let done = match done {
            Ok(()) => self.tx.control("commit").await,
            Err(error) => Err(error),
        };
        if done.is_err() {
            // The transaction may be gone already; then there is nothing to roll back.
            drop(self.tx.control("rollback").await);
        }
        (self.on_commit)(BatchFigures { submissions, duration: self.clock.instant().duration_since(started) });
        for release in releases {
            release(done.clone());
        }
    }

    /// Begins a transaction, over a new connection if the old one was lost.
    async fn begin(&mut self) -> Result<(), StoreError> {
        let Err(error) = self.tx.control("begin").await else { return Ok(()) };
        if self.tx.is_alive().await {
            drop(self.tx.control("rollback").await);
            return self.tx.control("begin").await;
        }
        match self.engine.writer(self.tx.chain.reconnected()).await {
            Ok(tx) => {
                self.tx = tx;
                self.tx.control("begin").await
            }
            Err(_) => {
                tokio::time::sleep(RECONNECT_PAUSE).await;
                Err(error)
            }
        }
    }

    /// Only changes: no savepoint unless something fails.
    async fn apply_fast(&mut self, batch: Vec<Submission>, releases: &mut Vec<Release>) -> Result<(), StoreError> {
        let mut changes = Vec::with_capacity(batch.len());
        for submission in batch {
            if let Submission::Changes(some, done) = submission {
                changes.push((some, done));
            }
        }
        let steps = plan_all(&changes, self.clock.now());
        match self.run(steps).await {
            Ok(()) => {
                releases.extend(changes.into_iter().map(|(_, done)| done as Release));
                Ok(())
            }
            Err(_) => {
                drop(self.tx.control("rollback").await);
                let begun = self.tx.control("begin").await;
                if let Err(error) = begun {
                    changes.into_iter().for_each(|(_, done)| done(Err(error.clone())));
                    return Err(error);
                }
                self.one_by_one(changes, releases).await
            }
        }
    }

    /// Changes and stories in the order in which they came.
    async fn apply(&mut self, batch: Vec<Submission>, releases: &mut Vec<Release>) -> Result<(), StoreError> {
        let mut changes = Vec::new();
        let mut failed = Ok(());
        for submission in batch {
            match submission {
                Submission::Changes(some, done) => changes.push((some, done)),
                Submission::Story(by, story, done) => {
                    self.tx.chain.by = by;
                    failed = failed.and(self.together(std::mem::take(&mut changes), releases).await);
                    failed = failed.and(self.tell(story, done, releases).await);
                }
                // Notes became changes on the way here.
                Submission::Notes(..) | Submission::Close(_) => {}
            }
        }
        failed.and(self.together(changes, releases).await)
    }

    /// These changes as one, under a savepoint; if that fails, one by one.
    async fn together(
        &mut self,
        changes: Vec<(Vec<Change>, Done)>,
        releases: &mut Vec<Release>,
    ) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let begun = self.tx.control("savepoint changes").await;
        let steps = plan_all(&changes, self.clock.now());
        let applied = match begun {
            Ok(()) => self.run(steps).await,
            Err(error) => Err(error),
        };
        if applied.is_ok() {
            releases.extend(changes.into_iter().map(|(_, done)| done as Release));
            return self.tx.control("release savepoint changes").await;
        }
        if let Err(error) = self.undo_to("changes").await {
            releases.extend(changes.into_iter().map(|(_, done)| done as Release));
            return Err(error);
        }
        self.one_by_one(changes, releases).await
    }

    async fn one_by_one(
        &mut self,
        changes: Vec<(Vec<Change>, Done)>,
        releases: &mut Vec<Release>,
    ) -> Result<(), StoreError> {
        let mut transaction = Ok(());
        for (some, done) in changes {
            if transaction.is_err() {
                releases.push(done);
                continue;
            }
            transaction = self.tx.control("savepoint change").await;
            match self.run(plan(some.into_iter(), self.clock.now())).await {
                Ok(()) => {
                    transaction = transaction.and(self.tx.control("release savepoint change").await);
                    releases.push(done);
                }
                Err(error) => {
                    transaction = transaction.and(self.undo_to("change").await);
                    done(Err(error));
                }
            }
        }
        transaction
    }

    async fn undo_to(&mut self, savepoint: &'static str) -> Result<(), StoreError> {
        let (back, forget) = match savepoint {
            "changes" => ("rollback to savepoint changes", "release savepoint changes"),
            "change" => ("rollback to savepoint change", "release savepoint change"),
            _ => ("rollback to savepoint story", "release savepoint story"),
        };
        self.tx.control(back).await?;
        self.tx.control(forget).await
    }

    async fn tell(&mut self, story: AnyStory, done: StoryDone, releases: &mut Vec<Release>) -> Result<(), StoreError> {
        if let Err(error) = self.tx.control("savepoint story").await {
            done(Err(error.clone()));
            return Err(error);
        }
        match unpanicked(story, &mut self.tx).await {
            Ok(outcome) => {
                releases.push(Box::new(move |committed| done(committed.map(|()| outcome))));
                self.tx.control("release savepoint story").await
            }
            Err(error) => {
                let undone = self.undo_to("story").await;
                done(Err(error));
                undone
            }
        }
    }

    async fn run(&mut self, steps: Vec<Step>) -> Result<(), StoreError> {
        for step in steps {
            match step {
                Step::Run(statement) => drop(self.tx.execute(statement).await?),
                Step::Note(deed) => audit::append_if_there(&mut self.tx, *deed).await?,
            }
        }
        Ok(())
    }
}

/// What changes come to.
enum Step {
    Run(Statement),
    /// A device did it.
    Note(Box<Deed>),
}

/// The steps of these changes. The end of an agent keeps its place among them.
fn plan(changes: impl Iterator<Item = Change>, now: Timestamp) -> Vec<Step> {
    let (mut merged, mut steps) = (Merged::default(), Vec::new());
    for change in changes {
        if let Some((agent, at)) = merged.add(change) {
            steps.extend(apply::statements(std::mem::take(&mut merged), now).into_iter().map(Step::Run));
            let device = Actor::new(ActorKind::Device, agent.to_string());
            steps.push(Step::Note(Box::new(Deed::to_agent(Action::AgentUnenroll, agent).by(device))));
            steps.extend(apply::unenrolled(agent, at).map(Step::Run));
        }
    }
    steps.extend(apply::statements(merged, now).into_iter().map(Step::Run));
    steps
}

/// The same for several submissions, which are kept in case that they must be tried one by one.
fn plan_all(changes: &[(Vec<Change>, Done)], now: Timestamp) -> Vec<Step> {
    plan(changes.iter().flat_map(|(some, _)| some.iter().cloned()), now)
}

/// A story that panics fails like one that returns an error; the writer must go on.
async fn unpanicked(story: AnyStory, tx: &mut Tx) -> Result<Outcome, StoreError> {
    let panicked = |_| StoreError::Database("a story panicked".into());
    let mut story = catch_unwind(AssertUnwindSafe(|| story(tx))).map_err(panicked)?;
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| story.as_mut().poll(cx))) {
        Ok(poll) => poll,
        Err(panic) => std::task::Poll::Ready(Err(panicked(panic))),
    })
    .await
}
