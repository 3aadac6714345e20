//! Contents of Flyve's files and packages: copied into the store of contents before the rows that refer to them are written. Nothing
//! outside the given directory is ever read.

use std::{
    collections::HashMap,
    io,
    path::{Component, Path, PathBuf},
};

use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

use super::{Prepared, source::Line};
use crate::store::{Store, StoreError, blobs::Content};

/// Bytes that are copied at once.
const PIECE_BYTES: usize = 256 * 1024;

/// What a row will refer to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// SHA-256, 64 hexadecimal digits.
    pub blob: String,
    /// In bytes.
    pub size: u64,
}

/// Contents that were found, by kind and their number.
#[derive(Debug, Default)]
pub struct Contents {
    /// For the rows.
    pub found: HashMap<(&'static str, i64), Stored>,
    /// On the disk, not in their places yet.
    pub incoming: Vec<Content>,
}

impl Store {
    /// Copies what there is; what is missing is reported. A dry run copies nothing.
    ///
    /// # Errors
    /// Our disk failed.
    pub async fn take_contents(
        &self,
        prepared: &mut Prepared,
        directory: Option<&Path>,
    ) -> Result<Contents, StoreError> {
        let mut contents = Contents::default();
        let wanted: Vec<(&'static str, &'static str, i64, String, String)> = [
            ("files", "file", "source", &prepared.tables.files),
            ("packages", "package", "filename", &prepared.tables.packages),
        ]
        .into_iter()
        .flat_map(|(kind, folder, column, lines)| {
            let row = move |line: &Line| (kind, folder, line.int("id"), line.text("name"), line.raw(column));
            lines.iter().map(row).collect::<Vec<_>>()
        })
        .collect();
        for (kind, folder, id, name, source) in wanted {
            let Some(directory) = directory else {
                prepared.report.skip(
                    kind,
                    id,
                    &name,
                    "its content is in Flyve's directory, which was not given (--files)",
                );
                continue;
            };
            let Some(path) = place(directory, folder, &source) else {
                prepared.report.skip(
                    kind,
                    id,
                    &name,
                    format!("its content \"{}\" is not there", source.escape_debug()),
                );
                continue;
            };
            let taken = if prepared.report.dry_run { look(&path).await } else { self.copy(&path, &mut contents).await };
            match taken {
                Ok(stored) => {
                    contents.found.insert((kind, id), stored);
                }
                Err(problem) => prepared.report.skip(kind, id, &name, format!("{}: {problem}", path.display())),
            }
        }
        Ok(contents)
    }

    async fn copy(&self, path: &Path, contents: &mut Contents) -> io::Result<Stored> {
        let mut from = tokio::fs::File::open(path).await?;
        let mut incoming = self.blobs().incoming().await?;
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let count = from.read(&mut piece).await?;
            if count == 0 {
                break;
            }
            incoming.write(&piece[..count]).await?;
        }
        let content = incoming.finish().await?;
        let stored = Stored { blob: content.blob.clone(), size: content.size };
        contents.incoming.push(content);
        Ok(stored)
    }
}

/// For a dry run, whose rows are taken back.
async fn look(path: &Path) -> io::Result<Stored> {
    let size = tokio::fs::File::open(path).await?.metadata().await?.len();
    let name = path.as_os_str().as_encoded_bytes();
    let blob = Sha256::digest(name).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Stored { blob, size })
}

/// The file that is meant, if it is one and lies inside the directory: `<folder>/<source>`, or `<source>` where the directory is the folder.
fn place(directory: &Path, folder: &str, source: &str) -> Option<PathBuf> {
    let source = Path::new(source);
    if source.as_os_str().is_empty() || source.components().any(|it| !matches!(it, Component::Normal(_))) {
        return None;
    }
    let root = directory.canonicalize().ok()?;
    [root.join(folder).join(source), root.join(source)].into_iter().find_map(|path| {
        // A link may lead out.
        let real = path.canonicalize().ok()?;
        (real.starts_with(&root) && real.is_file()).then_some(real)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_the_directory_is_read() {
        let world = tempfile::tempdir().unwrap();
        let directory = world.path().join("flyvemdm");
        std::fs::create_dir_all(directory.join("file/76")).unwrap();
        std::fs::write(directory.join("file/76/a.pdf"), "a").unwrap();
        std::fs::write(world.path().join("secret"), "s").unwrap();
        std::os::unix::fs::symlink(world.path().join("secret"), directory.join("file/76/link")).unwrap();
        let check = |source: &str, is_found: bool| {
            assert_eq!(place(&directory, "file", source).is_some(), is_found, "{source}");
        };
        check("76/a.pdf", true);
        check("file/76/a.pdf", true);
        check("76/b.pdf", false);
        check("76", false);
        check("", false);
        check("../../secret", false);
        check("76/../../../secret", false);
        check(world.path().join("secret").to_str().unwrap(), false);
        check("76/link", false);
    }
}
