//! Contents of files and packages: each once in the data directory, named by its SHA-256 (`blobs/ab/cdef…`). A content is
//! written under a name of its own, made safe on the disk and then moved to its place, so that what has its final name is
//! whole. Which contents are wanted, the table `blob` says; it is never the other way round. Which may be removed, `blob_loose` says:
//! what this database never had is another one's, and stays.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use sha2::{Digest, Sha256};
use tokio::{
    fs::File,
    io::AsyncWriteExt,
    sync::{OwnedRwLockReadGuard, RwLock},
};

use super::{
    Store, StoreError,
    administer::Refused,
    audit::{Made, audited},
    db::{Statement, Tx},
};
use crate::{clock::Timestamp, mdm::audit::Deed};

mod sweep;

pub use sweep::Swept;

/// Names in one question.
const NAMES_MAX: usize = 500;
/// Digits of the name that choose the directory.
const FAN_OUT_DIGITS: usize = 2;
/// Random bytes in the name of a content that is still coming in.
const TEMPORARY_BYTES: usize = 16;

/// The directory of contents, cheap to clone.
#[derive(Debug, Clone)]
pub struct Blobs {
    directory: Arc<Path>,
    /// Held for reading while a content gets its name and its row, for writing while contents without a row are removed.
    gate: Arc<RwLock<()>>,
}

/// A content that is coming in. It is gone when this is dropped.
#[derive(Debug)]
pub struct Incoming {
    place: Temporary,
    file: File,
    hash: Sha256,
    size: u64,
}

/// A content that is safe on the disk and has no row yet. It is gone when this is dropped.
#[derive(Debug)]
pub struct Content {
    place: Temporary,
    /// SHA-256, 64 hexadecimal digits.
    pub blob: String,
    /// In bytes.
    pub size: u64,
}

/// A file that is removed unless it was moved away.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // It was moved to its place, or never made.
        let _ = fs::remove_file(&self.0);
    }
}

impl Blobs {
    pub(super) fn at(data_dir: &Path) -> Self {
        Self { directory: data_dir.join("blobs").into(), gate: Arc::default() }
    }

    /// A place for a content that is about to come in.
    ///
    /// # Errors
    /// The disk refused.
    pub async fn incoming(&self) -> io::Result<Incoming> {
        let place = self.temporary()?;
        let file = tokio::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&place.0).await?;
        Ok(Incoming { place, file, hash: Sha256::new(), size: 0 })
    }

    /// The same for a thread that may wait, readable too; the file is gone when the answer is dropped.
    ///
    /// # Errors
    /// The disk refused.
    pub fn scratch(&self) -> io::Result<Scratch> {
        let place = self.temporary()?;
        let file = fs::OpenOptions::new().read(true).write(true).create_new(true).open(&place.0)?;
        Ok(Scratch { file, _place: place })
    }

    /// Opens a content for reading. What was opened stays readable when the content is removed.
    ///
    /// # Errors
    /// It is not there, or the disk refused.
    pub async fn open(&self, blob: &str) -> io::Result<fs::File> {
        Ok(File::open(self.path(blob)).await?.into_std().await)
    }

    /// Bytes that are free on the disk.
    ///
    /// # Errors
    /// The disk refused.
    pub fn free_bytes(&self) -> io::Result<u64> {
        make_directory(&self.directory)?;
        let figures = rustix::fs::statvfs(&*self.directory)?;
        Ok(figures.f_bavail.saturating_mul(figures.f_frsize))
    }

    fn temporary(&self) -> io::Result<Temporary> {
        let mut random = [0_u8; TEMPORARY_BYTES];
        getrandom::fill(&mut random).map_err(|e| io::Error::other(e.to_string()))?;
        let directory = self.directory.join("new");
        make_directory(&directory)?;
        Ok(Temporary(directory.join(hexadecimal(&random))))
    }

    fn path(&self, blob: &str) -> PathBuf {
        let (directory, name) = blob.split_at_checked(FAN_OUT_DIGITS).unwrap_or(("", blob));
        self.directory.join(directory).join(name)
    }

    /// No content is removed until the answer is dropped.
    async fn nobody_removes(&self) -> OwnedRwLockReadGuard<()> {
        self.gate.clone().read_owned().await
    }

    /// Moves contents to their places.
    async fn keep(&self, contents: Vec<Content>) -> Result<(), StoreError> {
        let blobs = self.clone();
        let moved = tokio::task::spawn_blocking(move || {
            for content in contents {
                let path = blobs.path(&content.blob);
                let directory = path.parent().ok_or_else(|| io::Error::other("a content without a directory"))?;
                make_directory(directory)?;
                fs::rename(&content.place.0, &path)?;
                fs::File::open(directory)?.sync_all()?;
            }
            Ok::<(), io::Error>(())
        });
        moved.await.map_err(|e| StoreError::Disk(e.to_string()))?.map_err(|e| StoreError::Disk(e.to_string()))
    }
}

/// A file to work in that nobody else sees.
#[derive(Debug)]
pub struct Scratch {
    /// Open for reading and writing.
    pub file: fs::File,
    _place: Temporary,
}

impl Content {
    /// Opens it for reading, for a thread that may wait.
    ///
    /// # Errors
    /// The disk refused.
    pub fn open_now(&self) -> io::Result<fs::File> {
        fs::File::open(&self.place.0)
    }
}

impl Incoming {
    /// Takes the next piece.
    ///
    /// # Errors
    /// The disk refused.
    pub async fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.hash.update(piece);
        self.size += piece.len() as u64;
        self.file.write_all(piece).await
    }

    /// Bytes so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Nothing more comes: everything is forced to the disk.
    ///
    /// # Errors
    /// The disk refused.
    pub async fn finish(mut self) -> io::Result<Content> {
        self.file.flush().await?;
        self.file.sync_all().await?;
        let blob = hexadecimal(self.hash.finalize().as_slice());
        Ok(Content { place: self.place, blob, size: self.size })
    }
}

impl Store {
    /// The contents.
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// Gives a content its place and runs the story that refers to it. Where the story refuses or fails, nothing is left.
    ///
    /// # Errors
    /// The database or the disk failed.
    pub(super) async fn write_with_content<T, F>(
        &self,
        deed: Deed,
        content: Content,
        story: F,
    ) -> super::administer::Answer<T>
    where
        T: Made + Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> super::db::Story<'t, Result<T, Refused>> + Send + 'static,
    {
        self.write_with_contents(vec![content], audited(deed, story)).await
    }

    /// The same for many contents.
    ///
    /// # Errors
    /// The database or the disk failed.
    pub async fn write_with_contents<T, R, F>(
        &self,
        contents: Vec<Content>,
        story: F,
    ) -> Result<Result<T, R>, StoreError>
    where
        T: Send + 'static,
        R: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> super::db::Story<'t, Result<T, R>> + Send + 'static,
    {
        let blobs: Vec<String> = contents.iter().map(|it| it.blob.clone()).collect();
        let guard = self.blobs.nobody_removes().await;
        self.note_loose(blobs.clone()).await?;
        self.blobs.keep(contents).await?;
        let answer = self.write(story).await;
        drop(guard);
        if !matches!(answer, Ok(Ok(_))) {
            self.discard(blobs).await?;
        }
        answer
    }

    /// Removes those of these contents that no row refers to.
    ///
    /// # Errors
    /// The database failed; the next start removes them.
    pub async fn discard(&self, blobs: Vec<String>) -> Result<(), StoreError> {
        let _nobody_adds = self.blobs.gate.write().await;
        for names in blobs.chunks(NAMES_MAX) {
            self.remove_unwanted(names).await?;
        }
        Ok(())
    }
}

/// Writes down that there is such a content.
pub(super) async fn note(tx: &mut Tx, blob: &str, size: u64, at: Timestamp) -> Result<(), StoreError> {
    let insert = "insert into blob (blob_id, size_bytes, created_at) values ($1, $2, $3) on conflict do nothing";
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    tx.execute(Statement::new(insert, [blob.into(), size.into(), at.0.into()])).await?;
    tx.execute(Statement::new("delete from blob_loose where blob_id = $1", [blob.into()])).await.map(drop)
}

/// Forgets a content that nothing refers to any more.
pub(super) async fn forget_unused(tx: &mut Tx, blob: &str) -> Result<(), StoreError> {
    let delete = "delete from blob where blob_id = $1 and not exists (select 1 from file f where f.blob_id = blob.blob_id) \
        and not exists (select 1 from package p where p.blob_id = blob.blob_id)";
    if tx.execute(Statement::new(delete, [blob.into()])).await? > 0 {
        loosen(tx, blob).await?;
    }
    Ok(())
}

/// Writes down that nothing may refer to a content that is there.
async fn loosen(tx: &mut Tx, blob: &str) -> Result<(), StoreError> {
    let insert = "insert into blob_loose (blob_id) values ($1) on conflict do nothing";
    tx.execute(Statement::new(insert, [blob.into()])).await.map(drop)
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let listed = match fs::read_dir(directory) {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(Vec::new()),
        listed => listed.and_then(|it| it.map(|entry| entry.map(|it| it.path())).collect::<io::Result<Vec<_>>>()),
    };
    listed.map_err(|e| disk(directory, &e))
}

async fn remove(path: &Path) -> Result<(), StoreError> {
    match tokio::fs::remove_file(path).await {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(disk(path, &e)),
        _ => Ok(()),
    }
}

fn make_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn disk(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Disk(format!("{}: {error}", path.display()))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
