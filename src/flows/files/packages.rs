//! Packages: like files, and what stands in them is read as soon as they are there.

use std::{fs::File, io, sync::Arc, time::Duration};

use rawzip::FileReader;
use tracing::{info, warn};

use super::{Described, OPEN_TRIES_MAX, Served, filename, finished, owner};
use crate::{
    flows::{Flows, administer::name_of, session::Speaker},
    ids::{EntityId, PackageId},
    mdm::package::{self, Kind, Unreadable},
    store::{
        StoreError,
        administer::{Answer, Refused},
        blobs::{Blobs, Content},
        files::{NewPackage, PackageView, Parsed, PendingPackage},
    },
};

/// How long an uploader waits for his package to be read before he is told that it is pending.
const READ_WITHIN: Duration = Duration::from_secs(10);

impl Flows {
    /// A new package. Answers once it was read, or after a while.
    ///
    /// # Errors
    /// The database or the disk failed.
    pub async fn add_package(self: &Arc<Self>, described: Described, content: Content) -> Answer<PackageView> {
        let flows = self.clone();
        finished(async move {
            let name = described.name.as_deref().unwrap_or(&described.filename);
            let checked = package_filename(&described.filename).and_then(|file| Ok((file, name_of(name)?)));
            let (dl_filename, name) = match checked {
                Ok(checked) => checked,
                Err(refused) => return Ok(Err(refused)),
            };
            let entity = described.entity.unwrap_or(EntityId::ROOT);
            let blob = content.blob.clone();
            let new = NewPackage { entity, name, dl_filename: dl_filename.clone(), at: flows.clock.now() };
            match flows.store.add_package(new, content).await? {
                Ok(id) => flows.package_once_read(PendingPackage { id, blob, dl_filename }).await,
                Err(refused) => Ok(Err(refused)),
            }
        })
        .await
    }

    /// The next version of a package, unless it cannot be read: then the old one stays. Devices that it is deployed to get it
    /// again when its version code is another one.
    ///
    /// # Errors
    /// The database or the disk failed.
    pub async fn replace_package(
        self: &Arc<Self>,
        id: PackageId,
        described: Described,
        content: Content,
    ) -> Answer<PackageView> {
        let flows = self.clone();
        finished(async move {
            let dl_filename = match package_filename(&described.filename) {
                Ok(filename) => filename,
                Err(refused) => return Ok(Err(refused)),
            };
            let opened = content.open_now().map_err(|e| StoreError::Disk(e.to_string()))?;
            let parsed = match flows.read_archive(opened, &dl_filename).await {
                Ok(parsed) => parsed,
                Err(reason) => return Ok(Err(Refused::Invalid(format!("the package cannot be read: {reason}")))),
            };
            match flows.store.replace_package(id, content, dl_filename, parsed, flows.clock.now()).await? {
                Ok(touched) => flows.policies_changed(&touched),
                Err(refused) => return Ok(Err(refused)),
            }
            flows.package(id).await
        })
        .await
    }

    /// Another name for a package.
    ///
    /// # Errors
    /// The database failed.
    pub async fn rename_package(&self, id: PackageId, name: &str) -> Answer<PackageView> {
        let answer = match name_of(name) {
            Ok(name) => self.store.rename_package(id, name).await?,
            Err(refused) => Err(refused),
        };
        match answer {
            Ok(()) => self.package(id).await,
            Err(refused) => Ok(Err(refused)),
        }
    }

    /// Removes a package and what was to be done with it.
    ///
    /// # Errors
    /// The database or the disk failed.
    pub async fn remove_package(self: &Arc<Self>, id: PackageId) -> Answer<()> {
        let flows = self.clone();
        finished(async move {
            let removed = flows.store.remove_package(id, flows.clock.now(), flows.removal_until()).await?;
            Ok(removed.map(|touched| flows.policies_changed(&touched)))
        })
        .await
    }

    /// One package.
    ///
    /// # Errors
    /// The database failed.
    pub async fn package(&self, id: PackageId) -> Answer<PackageView> {
        Ok(self.store.package(id).await?.ok_or_else(|| Refused::Absent(format!("there is no package {id}"))))
    }

    /// A package for somebody's session. `None`: there is none that he may see.
    ///
    /// # Errors
    /// The database failed.
    pub async fn package_for(&self, speaker: Speaker, id: PackageId) -> Result<Option<PackageView>, StoreError> {
        self.store.package_for(owner(speaker), id).await
    }

    /// The same with its content.
    ///
    /// # Errors
    /// The database or the disk failed.
    pub async fn package_content(
        &self,
        speaker: Speaker,
        id: PackageId,
    ) -> Result<Option<Served<PackageView>>, StoreError> {
        for _ in 0..OPEN_TRIES_MAX {
            let Some(view) = self.store.package_for(owner(speaker), id).await? else { return Ok(None) };
            if let Some(file) = self.open_content(&view.blob).await? {
                return Ok(Some(Served { view, file: Some(file) }));
            }
        }
        Ok(self.store.package_for(owner(speaker), id).await?.map(|view| Served { view, file: None }))
    }

    async fn package_once_read(self: &Arc<Self>, package: PendingPackage) -> Answer<PackageView> {
        let id = package.id;
        let flows = self.clone();
        let reading = tokio::spawn(async move { flows.read_package(package).await });
        // Either it was read by then, or its row says that it is pending.
        let _ = tokio::time::timeout(READ_WITHIN, reading).await;
        self.package(id).await
    }

    /// Reads what stands in a package and writes it down.
    pub(super) async fn read_package(&self, package: PendingPackage) {
        let outcome = match self.store.blobs().open(&package.blob).await {
            Ok(content) => self.read_archive(content, &package.dl_filename).await,
            Err(e) => Err(Unreadable::Disk(e.to_string()).to_string()),
        };
        if let Err(reason) = &outcome {
            info!(package.id = %package.id, "package {} cannot be read: {reason}", package.id);
        }
        match self.store.note_parsed(package, outcome, self.clock.now()).await {
            Ok(touched) => self.policies_changed(&touched),
            Err(problem) => warn!("what stands in a package could not be written down: {problem}"),
        }
    }

    /// Reads an archive on a thread that may wait, when it is its turn.
    async fn read_archive(&self, content: File, filename: &str) -> Result<Parsed, String> {
        let turn = self.traffic.readers.clone().acquire_owned().await.map_err(|e| e.to_string())?;
        let (blobs, kind) = (self.store.blobs().clone(), Kind::of(filename));
        let reading = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            read_now(&blobs, content, kind).map_err(|reason| reason.to_string())
        });
        reading.await.unwrap_or_else(|_| Err("it made the reader stop".into()))
    }
}

fn read_now(blobs: &Blobs, content: File, kind: Option<Kind>) -> Result<Parsed, Unreadable> {
    let disk = |e: io::Error| Unreadable::Disk(e.to_string());
    let size = content.metadata().map_err(disk)?.len();
    let facts = if kind == Some(Kind::Upk) {
        let mut scratch = blobs.scratch().map_err(disk)?;
        let size = package::unwrap_upk(FileReader::from(content), size, &mut scratch.file)?;
        let inner = scratch.file.try_clone().map_err(disk)?;
        package::read_apk(FileReader::from(inner), size)?
    } else {
        package::read_apk(FileReader::from(content), size)?
    };
    Ok(Parsed {
        package_name: facts.package_name,
        version: facts.version,
        version_code: facts.version_code,
        alias: facts.label,
        icon: facts.icon,
    })
}

/// The same for packages, whose ending says what they are.
///
/// # Errors
/// Why not.
pub fn package_filename(text: &str) -> Result<String, Refused> {
    let name = filename(text)?;
    if Kind::of(&name).is_none() {
        return Err(Refused::Invalid("Only APK and UPK files are allowed".into()));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_end_in_apk_or_upk() {
        assert!(package_filename("App.APK").is_ok() && package_filename("app.upk").is_ok());
        let refused = package_filename("app.exe").unwrap_err();
        assert_eq!(refused.to_string(), "Only APK and UPK files are allowed");
    }
}
