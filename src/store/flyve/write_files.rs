//! Writes a move from Flyve down: files and packages, whose contents are safe already.

use std::collections::HashMap;

use super::{contents::Stored, source::Line, write::Move};
use crate::{
    ids::{FileId, PackageId},
    mdm::{package::Kind, policy::ItemId},
    store::{
        StoreError, blobs,
        db::{Statement, Value},
        task,
    },
};

type Found = HashMap<(&'static str, i64), Stored>;

impl Move<'_> {
    pub(super) async fn files(&mut self, lines: &[Line], found: &Found) -> Result<(), StoreError> {
        for line in lines {
            // What is missing was reported when its content was looked for.
            let (id, name) = (line.int("id"), line.text("name"));
            let Some(stored) = found.get(&("files", id)) else { continue };
            let Some(entity) = self.entity_of("files", line, &name) else { continue };
            blobs::note(self.tx, &stored.blob, stored.size, self.now).await?;
            if let Some(ours) = self.ours("files", id) {
                let update = "update file set name = $2, comment = $3, updated_at = $5, blob_id = $4, \
                              version = version + case when blob_id = $4 then 0 else 1 end where file_id = $1";
                let args = [
                    ours.into(),
                    name.as_str().into(),
                    line.text("comment").into(),
                    stored.blob.as_str().into(),
                    self.now.0.into(),
                ];
                let current = "select blob_id from file where file_id = $1";
                self.replaced("files", id, &name, current, ItemId::File(FileId(ours)), (update, args.into())).await?;
                continue;
            }
            let insert = "insert into file (entity_id, name, comment, version, blob_id, created_at, updated_at) \
                          values ($1, $2, $3, $4, $5, $6, $6) returning file_id as n";
            let args = [
                entity.into(),
                name.as_str().into(),
                line.text("comment").into(),
                line.int("version").max(1).into(),
                stored.blob.as_str().into(),
                self.now.0.into(),
            ];
            let ours = self.made(insert, args).await?;
            self.remember("files", id, ours).await?;
            self.report.added("files");
        }
        Ok(())
    }

    pub(super) async fn packages(&mut self, lines: &[Line], found: &Found) -> Result<(), StoreError> {
        for line in lines {
            let (id, name) = (line.int("id"), line.text("name"));
            let Some(stored) = found.get(&("packages", id)) else { continue };
            let Some(entity) = self.entity_of("packages", line, &name) else { continue };
            let uploaded = [line.text("dl_filename"), name.clone(), line.text("filename")];
            let Some(filename) = uploaded.iter().map(|it| last_part(it)).find(|it| Kind::of(it).is_some()) else {
                self.report.skip("packages", id, &name, "its name does not end in .apk or .upk");
                continue;
            };
            blobs::note(self.tx, &stored.blob, stored.size, self.now).await?;
            if let Some(ours) = self.ours("packages", id) {
                // Another content is read again.
                let update = "update package set name = $2, dl_filename = $3, updated_at = $5, blob_id = $4, \
                              parse_status = case when blob_id = $4 then parse_status else 'pending' end where package_id = $1";
                let args = [
                    ours.into(),
                    name.as_str().into(),
                    filename.into(),
                    stored.blob.as_str().into(),
                    self.now.0.into(),
                ];
                let current = "select blob_id from package where package_id = $1";
                let item = ItemId::Package(PackageId(ours));
                self.replaced("packages", id, &name, current, item, (update, args.into())).await?;
                continue;
            }
            let is_parsed = line.text("parse_status") == "parsed" && !line.text("package_name").is_empty();
            let insert = "insert into package (entity_id, name, alias, package_name, version, version_code, icon, dl_filename, \
                          blob_id, parse_status, created_at, updated_at) \
                          values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11) returning package_id as n";
            let args = [
                entity.into(),
                name.as_str().into(),
                line.text("alias").into(),
                line.text("package_name").into(),
                line.text("version").into(),
                line.text("version_code").into(),
                line.raw("icon").into(),
                filename.into(),
                stored.blob.as_str().into(),
                (if is_parsed { "parsed" } else { "pending" }).into(),
                self.now.0.into(),
            ];
            let ours = self.made(insert, args).await?;
            self.remember("packages", id, ours).await?;
            self.report.added("packages");
        }
        Ok(())
    }

    fn entity_of(&mut self, kind: &'static str, line: &Line, name: &str) -> Option<i64> {
        let entity = line.int("entities_id");
        if self.defaults.contains_key(&entity) {
            return Some(entity);
        }
        self.report.skip(kind, line.int("id"), name, format!("its entity {entity} did not come"));
        None
    }

    /// Changes a row that came before, lets go of the content that it had, and publishes its tasks again where it has another.
    async fn replaced(
        &mut self,
        kind: &'static str,
        id: i64,
        name: &str,
        current: &'static str,
        item: ItemId,
        (update, args): (&'static str, Vec<Value>),
    ) -> Result<(), StoreError> {
        let ours = match item {
            ItemId::File(FileId(ours)) | ItemId::Package(PackageId(ours)) => ours,
        };
        let Some(row) = self.tx.row(Statement::new(current, [ours.into()])).await? else {
            self.report.skip(kind, id, name, "was removed here");
            return Ok(());
        };
        let old = row.text("blob_id");
        self.run(update, args).await?;
        let is_other =
            self.tx.row(Statement::new(current, [ours.into()])).await?.is_some_and(|it| it.text("blob_id") != old);
        if is_other {
            blobs::forget_unused(self.tx, &old).await?;
            self.let_go.push(old);
            let touched = task::republish(self.tx, item, self.now).await?;
            self.touched(touched);
        }
        self.report.updated(kind);
        Ok(())
    }
}

/// `76/5b3_app.apk` is `5b3_app.apk`.
fn last_part(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}
