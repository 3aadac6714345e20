//! Files and packages for devices: a content comes in, gets its row, and is handed to those who may have it. What was
//! begun is finished even when the administrator who asked for it hangs up.

use std::{io, sync::Arc};

use tracing::{info, warn};

use super::{
    Flows,
    administer::name_of,
    audit::{actor, on_behalf},
    session::Speaker,
};
use crate::{
    ids::{EntityId, FileId},
    store::{
        StoreError,
        administer::{Answer, Refused},
        blobs::{Content, Swept},
        files::NewFile,
        session::Owner,
    },
};

mod packages;
mod upload;

pub use crate::store::files::{FileView, PackageView, PathView};
pub use packages::package_filename;
pub use upload::{NotReceived, Traffic, Upload};

/// Characters of a comment.
const COMMENT_CHARS_MAX: usize = 10_000;
/// Characters of the type that an uploader gives.
const MIME_CHARS_MAX: usize = 100;

/// What an administrator says of a content that came in.
#[derive(Debug, Clone, Default)]
pub struct Described {
    /// Whose; the root's where nothing is said.
    pub entity: Option<EntityId>,
    /// What to call it; as it was uploaded where nothing is said.
    pub name: Option<String>,
    /// For people.
    pub comment: String,
    /// Its name at the uploader's.
    pub filename: String,
    /// What it is.
    pub mime_type: String,
}

/// A content that may be sent.
#[derive(Debug)]
pub struct Served<T> {
    /// Its row.
    pub view: T,
    /// Open for reading; it stays readable when it is replaced. `None`: the content is not on the disk.
    pub file: Option<std::fs::File>,
}

impl Flows {
    /// A new file.
    ///
    /// # Errors
    /// The database or the disk failed.
    pub async fn add_file(self: &Arc<Self>, described: Described, content: Content) -> Answer<FileView> {
        let flows = self.clone();
        finished(async move {
            let name = described.name.as_deref().unwrap_or(&described.filename);
            let checked = filename(name).and_then(|name| Ok((name, comment(&described.comment)?)));
            let (name, comment) = match checked {
                Ok(checked) => checked,
                Err(refused) => return Ok(Err(refused)),
            };
            let entity = described.entity.unwrap_or(EntityId::ROOT);
            let mime_type = mime_type(&described.mime_type);
            let new = NewFile { entity, name, comment, mime_type, at: flows.clock.now() };
            match flows.store.add_file(new, content).await? {
                Ok(id) => flows.file(id).await,
                Err(refused) => Ok(Err(refused)),
            }
        })
        .await
    }

    /// The next version of a file; devices that it is deployed to get it again.
    ///
    /// # Errors
    /// The database or the disk failed.
    pub async fn replace_file(
        self: &Arc<Self>,
        id: FileId,
        described: Described,
        content: Content,
    ) -> Answer<FileView> {
        let flows = self.clone();
        finished(async move {
            let mime_type = mime_type(&described.mime_type);
            match flows.store.replace_file(id, content, mime_type, flows.clock.now()).await? {
                Ok(touched) => flows.policies_changed(&touched),
                Err(refused) => return Ok(Err(refused)),
            }
            flows.file(id).await
        })
        .await
    }

    /// Another name or comment for a file.
    ///
    /// # Errors
    /// The database failed.
    pub async fn change_file(&self, id: FileId, name: Option<&str>, text: Option<&str>) -> Answer<FileView> {
        let checked = name.map(filename).transpose().and_then(|name| Ok((name, text.map(comment).transpose()?)));
        let answer = match checked {
            Ok((name, comment)) => self.store.change_file(id, name, comment).await?,
            Err(refused) => Err(refused),
        };
        match answer {
            Ok(()) => self.file(id).await,
            Err(refused) => Ok(Err(refused)),
        }
    }

    /// Removes a file and what was to be done with it.
    ///
    /// # Errors
    /// The database or the disk failed.
    pub async fn remove_file(self: &Arc<Self>, id: FileId) -> Answer<()> {
        let flows = self.clone();
        finished(async move {
            let removed = flows.store.remove_file(id, flows.clock.now(), flows.removal_until()).await?;
            Ok(removed.map(|touched| flows.policies_changed(&touched)))
        })
        .await
    }

    /// One file.
    ///
    /// # Errors
    /// The database failed.
    pub async fn file(&self, id: FileId) -> Answer<FileView> {
        Ok(self.store.file(id).await?.ok_or_else(|| Refused::Absent(format!("there is no file {id}"))))
    }

    /// A file for somebody's session. `None`: there is none that he may see.
    ///
    /// # Errors
    /// The database failed.
    pub async fn file_for(&self, speaker: Speaker, id: FileId) -> Result<Option<FileView>, StoreError> {
        self.store.file_for(owner(speaker), id).await
    }

    /// The same with its content.
    ///
    /// # Errors
    /// The database or the disk failed.
    pub async fn file_content(&self, speaker: Speaker, id: FileId) -> Result<Option<Served<FileView>>, StoreError> {
        for _ in 0..OPEN_TRIES_MAX {
            let Some(view) = self.store.file_for(owner(speaker), id).await? else { return Ok(None) };
            if let Some(file) = self.open_content(&view.blob).await? {
                return Ok(Some(Served { view, file: Some(file) }));
            }
        }
        Ok(self.store.file_for(owner(speaker), id).await?.map(|view| Served { view, file: None }))
    }

    /// Removes what a crash left behind, says what is missing, and reads the packages that wait for it. To be called once, at the start.
    ///
    /// # Errors
    /// The database or the disk failed.
    pub async fn resume_files(self: &Arc<Self>) -> Result<(), StoreError> {
        let Swept { removed, missing, strange } = self.store.sweep_blobs().await?;
        if removed > 0 {
            info!("{removed} contents that nothing refers to were removed");
        }
        if missing > 0 {
            warn!(
                "{missing} contents of files and packages are missing in blobs/; restore them from a backup, or upload the files again"
            );
        }
        if strange > 0 {
            warn!(
                "{strange} contents in blobs/ are unknown to this database and are left alone; is it the right one (database.url), or an \
                 older copy?"
            );
        }
        self.read_pending_packages().await
    }

    /// Reads the packages that wait for it, one after the other; answers at once.
    ///
    /// # Errors
    /// The database failed.
    pub async fn read_pending_packages(self: &Arc<Self>) -> Result<(), StoreError> {
        let pending = self.store.pending_packages().await?;
        let flows = self.clone();
        tokio::spawn(async move {
            for package in pending {
                flows.read_package(package).await;
            }
        });
        Ok(())
    }

    /// Opens a content. `None`: it is not there.
    async fn open_content(&self, blob: &str) -> Result<Option<std::fs::File>, StoreError> {
        match self.store.blobs().open(blob).await {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(StoreError::Disk(e.to_string())),
        }
    }
}

/// Times that a content is looked for, in case it is replaced at the same moment.
const OPEN_TRIES_MAX: usize = 3;

/// Waits for a story that goes on even when nobody waits any more, still on behalf of whoever began it.
async fn finished<T: Send + 'static>(story: impl Future<Output = Answer<T>> + Send + 'static) -> Answer<T> {
    tokio::spawn(on_behalf(actor(), story)).await.map_err(|e| StoreError::Database(e.to_string()))?
}

/// What a file may be called: devices put it behind the path of a policy.
///
/// # Errors
/// Why not.
pub fn filename(text: &str) -> Result<String, Refused> {
    let name = name_of(text)?;
    if name.contains(['/', '\\']) || matches!(name.as_str(), "." | "..") {
        return Err(Refused::Invalid("the name of a file is not a path".into()));
    }
    Ok(name)
}

fn comment(text: &str) -> Result<String, Refused> {
    if text.chars().count() > COMMENT_CHARS_MAX {
        return Err(Refused::Invalid(format!("a comment has at most {COMMENT_CHARS_MAX} characters")));
    }
    Ok(text.to_owned())
}

/// What the uploader says, if it looks like a type.
fn mime_type(text: &str) -> String {
    let is_fine = text.len() <= MIME_CHARS_MAX
        && text.contains('/')
        && text.bytes().all(|it| it.is_ascii_graphic() && !matches!(it, b'"' | b'<' | b'>'));
    if is_fine { text.to_owned() } else { "application/octet-stream".to_owned() }
}

fn owner(speaker: Speaker) -> Owner {
    match speaker {
        Speaker::Person(id) => Owner::Person(id),
        Speaker::Invited(id, invitation) => Owner::Invited(id, invitation),
        Speaker::Agent(id) => Owner::Agent(id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_no_paths() {
        assert_eq!(filename(" report.pdf ").unwrap(), "report.pdf");
        assert_eq!(filename("été 2018.txt").unwrap(), "été 2018.txt");
        for bad in ["", " ", ".", "..", "a/b", "a\\b", "../etc/passwd", "a\nb", &"x".repeat(256)] {
            assert!(filename(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn types_that_look_strange_are_replaced() {
        assert_eq!(mime_type("image/jpeg"), "image/jpeg");
        for strange in ["", "jpeg", "image/jpeg\r\nX: y", "a/<b>", &"a/".repeat(100)] {
            assert_eq!(mime_type(strange), "application/octet-stream", "{strange}");
        }
    }
}
