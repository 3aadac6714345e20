//! A content comes in, piece by piece, within the limits of the settings and of the disk.

use std::{io, sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    config,
    flows::Flows,
    store::blobs::{Blobs, Content, Incoming},
};

/// Packages that are read at once: each takes a thread and up to the bounds of [`crate::mdm::package`].
const READERS_MAX: usize = 2;
/// The room on the disk is looked at again after so many bytes.
const ROOM_CHECKED_EVERY: u64 = 16 << 20;

/// Who may move contents at the same time.
#[derive(Debug)]
pub struct Traffic {
    uploads: Arc<Semaphore>,
    downloads: Arc<Semaphore>,
    pub(super) readers: Arc<Semaphore>,
}

impl Traffic {
    /// As many as the settings say.
    pub fn new(files: &config::Files) -> Self {
        Self {
            uploads: Arc::new(Semaphore::new(files.uploads_max as usize)),
            downloads: Arc::new(Semaphore::new(files.downloads_max as usize)),
            readers: Arc::new(Semaphore::new(READERS_MAX)),
        }
    }
}

/// Why a content did not come in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReceived {
    /// More than `files.upload_bytes_max`.
    #[error("a file has at most {0} bytes (files.upload_bytes_max)")]
    TooLarge(u64),
    /// The disk, or what uploads may take of it.
    #[error("the disk has no room for this file")]
    Full,
    /// More than `files.uploads_max`.
    #[error("{0} uploads are coming in already, try again later")]
    Busy(u32),
    /// The disk failed otherwise.
    #[error("Failed to store the uploaded file: {0}")]
    Disk(String),
}

impl From<io::Error> for NotReceived {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                NotReceived::Full
            }
            _ => NotReceived::Disk(error.to_string()),
        }
    }
}

/// A content that is coming in; dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Upload {
    incoming: Incoming,
    blobs: Blobs,
    bytes_max: u64,
    free_bytes_min: u64,
    room_checked_at: u64,
    _turn: OwnedSemaphorePermit,
}

impl Upload {
    /// The next piece.
    ///
    /// # Errors
    /// Why the content cannot come in.
    pub async fn take(&mut self, piece: &[u8]) -> Result<(), NotReceived> {
        let size = self.incoming.size().saturating_add(piece.len() as u64);
        if size > self.bytes_max {
            return Err(NotReceived::TooLarge(self.bytes_max));
        }
        if size >= self.room_checked_at.saturating_add(ROOM_CHECKED_EVERY) {
            self.room_checked_at = size;
            self.check_room()?;
        }
        Ok(self.incoming.write(piece).await?)
    }

    /// Nothing more comes.
    ///
    /// # Errors
    /// The disk refused.
    pub async fn finish(self) -> Result<Content, NotReceived> {
        Ok(self.incoming.finish().await?)
    }

    fn check_room(&self) -> Result<(), NotReceived> {
        if self.blobs.free_bytes()? < self.free_bytes_min.saturating_add(ROOM_CHECKED_EVERY) {
            return Err(NotReceived::Full);
        }
        Ok(())
    }
}

impl Flows {
    /// A turn to upload.
    ///
    /// # Errors
    /// There is none, or no room.
    pub async fn receive(&self) -> Result<Upload, NotReceived> {
        let files = &self.config.files;
        let turn =
            self.traffic.uploads.clone().try_acquire_owned().map_err(|_| NotReceived::Busy(files.uploads_max))?;
        let blobs = self.store.blobs().clone();
        let upload = Upload {
            incoming: blobs.incoming().await?,
            blobs,
            bytes_max: files.upload_bytes_max,
            free_bytes_min: files.free_bytes_min,
            room_checked_at: 0,
            _turn: turn,
        };
        upload.check_room()?;
        Ok(upload)
    }

    /// A turn to download. `None`: too many others, for longer than a request may take.
    pub async fn download_turn(&self) -> Option<OwnedSemaphorePermit> {
        let patience = Duration::from_secs(u64::from(self.config.http.request_timeout_s.max(2) - 1));
        tokio::time::timeout(patience, self.traffic.downloads.clone().acquire_owned()).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_a_broken_one() {
        assert_eq!(NotReceived::from(io::Error::from(io::ErrorKind::StorageFull)), NotReceived::Full);
        assert_eq!(NotReceived::from(io::Error::from(io::ErrorKind::QuotaExceeded)), NotReceived::Full);
        let broken = NotReceived::from(io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(matches!(broken, NotReceived::Disk(_)));
    }
}
