//! What nothing refers to, and what is not where it should be. Removes only contents that this database had itself: the directory may
//! have come to it by a mistake, and then they are somebody else's.

use super::{Blobs, NAMES_MAX, Statement, StoreError, entries, loosen, remove};
use crate::store::{Store, db::Value};

/// What the start found among the contents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Contents that came in half, and those that nothing refers to any more: they are gone.
    pub removed: usize,
    /// Contents that the database refers to and that are not there.
    pub missing: usize,
    /// Contents that the database has never heard of: they stay.
    pub strange: usize,
}

impl Blobs {
    /// Contents that have their places.
    ///
    /// # Errors
    /// The disk refused.
    pub fn count(&self) -> Result<usize, StoreError> {
        let mut count = 0;
        for directory in entries(&self.directory)?.iter().filter(|it| !it.ends_with("new")) {
            count += entries(directory)?.len();
        }
        Ok(count)
    }
}

impl Store {
    /// Removes what a crash left behind and looks for what should be there. To be called before anything comes in.
    ///
    /// # Errors
    /// The database or the disk failed.
    pub async fn sweep_blobs(&self) -> Result<Swept, StoreError> {
        let mut swept = Swept::default();
        for half in entries(&self.blobs.directory.join("new"))? {
            remove(&half).await?;
            swept.removed += 1;
        }
        let stale = Statement::new("delete from blob_loose where blob_id in (select blob_id from blob)", []);
        self.write(move |tx| Box::pin(tx.execute(stale))).await?;
        loop {
            let names = self.some("select blob_id from blob_loose order by blob_id limit $1", []).await?;
            if names.is_empty() {
                break;
            }
            swept.removed += self.remove_unwanted(&names).await?;
        }
        let (mut last, mut present) = (String::new(), 0);
        loop {
            let known = "select blob_id from blob where blob_id > $2 order by blob_id limit $1";
            let names = self.some(known, [last.into()]).await?;
            let Some(name) = names.last() else { break };
            last = name.clone();
            let there = names.iter().filter(|it| self.blobs.path(it).exists()).count();
            present += there;
            swept.missing += names.len() - there;
        }
        swept.strange = self.blobs.count()?.saturating_sub(present);
        Ok(swept)
    }

    /// Writes down, before contents get their places, that nothing refers to them yet.
    pub(super) async fn note_loose(&self, blobs: Vec<String>) -> Result<(), StoreError> {
        if blobs.is_empty() {
            return Ok(());
        }
        self.write(move |tx| {
            Box::pin(async move {
                for blob in &blobs {
                    loosen(tx, blob).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Removes those of these contents that no row refers to, and answers how many were there.
    pub(super) async fn remove_unwanted(&self, names: &[String]) -> Result<usize, StoreError> {
        let wanted = self.wanted(names).await?;
        let unwanted: Vec<&String> = names.iter().filter(|it| !wanted.contains(it)).collect();
        if unwanted.is_empty() {
            return Ok(0);
        }
        let mut removed = 0;
        for blob in &unwanted {
            let path = self.blobs.path(blob);
            removed += usize::from(path.exists());
            remove(&path).await?;
        }
        // Not before: what is forgotten here is looked for no more.
        let delete = format!("delete from blob_loose where blob_id in ({})", places(unwanted.len()));
        let delete = Statement::new(delete, args(unwanted));
        self.write(move |tx| Box::pin(tx.execute(delete))).await?;
        Ok(removed)
    }

    /// Those of these contents that have a row.
    async fn wanted(&self, names: &[String]) -> Result<Vec<String>, StoreError> {
        let question = format!("select blob_id from blob where blob_id in ({})", places(names.len()));
        Ok(self.rows(Statement::new(question, args(names))).await?.iter().map(|row| row.text("blob_id")).collect())
    }

    /// The names that a question finds, no more than [`NAMES_MAX`].
    async fn some<const N: usize>(&self, question: &'static str, more: [Value; N]) -> Result<Vec<String>, StoreError> {
        let mut args = vec![i64::try_from(NAMES_MAX).unwrap_or(i64::MAX).into()];
        args.extend(more);
        Ok(self.rows(Statement::new(question, args)).await?.iter().map(|row| row.text("blob_id")).collect())
    }
}

fn places(count: usize) -> String {
    (1..=count).map(|n| format!("${n}")).collect::<Vec<_>>().join(",")
}

fn args<'a>(names: impl IntoIterator<Item = &'a String>) -> Vec<Value> {
    names.into_iter().map(|it| it.clone().into()).collect()
}
