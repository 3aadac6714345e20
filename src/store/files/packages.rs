//! Applications for devices. What stands in an archive is read after the row is committed; until then its state is
//! `pending`, also across a crash.

use super::{content_of, is_visible, only_number, owner_id, size_of, there_is_room, visible_to};
use crate::{
    clock::Timestamp,
    ids::{EntityId, PackageId},
    mdm::{
        audit::{Action, Deed, Subject},
        policy::ItemId,
    },
    store::{
        Store, StoreError,
        administer::{Answer, LIST_ROWS_MAX, Refused},
        blobs::{self, Content},
        db::{Row, Statement, Value},
        session::Owner,
        task::{self, Touched},
    },
};

/// A package as people and agents see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageView {
    /// Key.
    pub id: PackageId,
    /// Whose.
    pub entity: EntityId,
    /// What administrators call it.
    pub name: String,
    /// What its application calls itself.
    pub alias: String,
    /// Of the manifest, such as `org.fdroid.fdroid`.
    pub package_name: String,
    /// Of the manifest, for people.
    pub version: String,
    /// Of the manifest, for programs.
    pub version_code: String,
    /// PNG, base64.
    pub icon: String,
    /// As it was uploaded; its ending tells devices what it is.
    pub dl_filename: String,
    /// `pending`, `parsed` or `failed`.
    pub parse_status: String,
    /// Why it failed.
    pub parse_error: String,
    /// Bytes of the content.
    pub size: u64,
    /// SHA-256 of the content.
    pub blob: String,
    /// First upload.
    pub created_at: Timestamp,
    /// Latest upload.
    pub updated_at: Timestamp,
}

/// A package that is about to be added.
#[derive(Debug, Clone)]
pub struct NewPackage {
    /// Whose.
    pub entity: EntityId,
    /// What administrators call it.
    pub name: String,
    /// As it was uploaded.
    pub dl_filename: String,
    /// Now.
    pub at: Timestamp,
}

/// A package whose archive was not read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingPackage {
    /// Key.
    pub id: PackageId,
    /// SHA-256 of the content.
    pub blob: String,
    /// As it was uploaded.
    pub dl_filename: String,
}

/// What stands in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// Of the manifest.
    pub package_name: String,
    /// Of the manifest, for people.
    pub version: String,
    /// Of the manifest, for programs.
    pub version_code: String,
    /// What the application calls itself.
    pub alias: String,
    /// PNG, base64.
    pub icon: String,
}

impl Parsed {
    /// Name, version, version code, alias and icon, in this order.
    fn values(self) -> [Value; 5] {
        [self.package_name.into(), self.version.into(), self.version_code.into(), self.alias.into(), self.icon.into()]
    }
}

const PACKAGE_VIEW: &str = "select p.package_id, p.entity_id, p.name, p.alias, p.package_name, p.version, p.version_code, \
    p.icon, p.dl_filename, p.parse_status, p.parse_error, p.blob_id, b.size_bytes, p.created_at, p.updated_at \
    from package p join blob b on b.blob_id = p.blob_id";

impl Store {
    /// The packages of one tenant, or of all, without their icons.
    ///
    /// # Errors
    /// The database failed.
    pub async fn packages(&self, entity: Option<EntityId>) -> Result<Vec<PackageView>, StoreError> {
        let (lowest, highest) = entity.map_or((i64::MIN, i64::MAX), |it| (it.0, it.0));
        let without_icons = PACKAGE_VIEW.replace("p.icon,", "'' as icon,");
        let question =
            format!("{without_icons} where p.entity_id >= $1 and p.entity_id <= $2 order by p.package_id limit $3");
        let args = [lowest.into(), highest.into(), LIST_ROWS_MAX.into()];
        Ok(self.rows(Statement::new(question, args)).await?.iter().map(view).collect())
    }

    /// One package.
    ///
    /// # Errors
    /// The database failed.
    pub async fn package(&self, id: PackageId) -> Result<Option<PackageView>, StoreError> {
        let question = format!("{PACKAGE_VIEW} where p.package_id = $1");
        Ok(self.row(Statement::new(question, [id.0.into()])).await?.as_ref().map(view))
    }

    /// One package, if this owner of a session may see it.
    ///
    /// # Errors
    /// The database failed.
    pub async fn package_for(&self, owner: Owner, id: PackageId) -> Result<Option<PackageView>, StoreError> {
        let question =
            format!("{} {PACKAGE_VIEW} where p.package_id = $1 and {}", visible_to(owner), is_visible("p.entity_id"));
        Ok(self.row(Statement::new(question, [id.0.into(), owner_id(owner)])).await?.as_ref().map(view))
    }

    /// A new package, to be read.
    ///
    /// # Errors
    /// The database or the disk failed.
    pub async fn add_package(&self, new: NewPackage, content: Content) -> Answer<PackageId> {
        let (blob, size) = (content.blob.clone(), content.size);
        let deed = Deed::new(Action::PackageAdd, Subject::Package)
            .with("name", new.name.as_str())
            .with("sha256", blob.as_str());
        self.write_with_content(deed, content, move |tx| {
            Box::pin(async move {
                if let Err(refused) = there_is_room(tx, new.entity, "select count(*) as n from package").await? {
                    return Ok(Err(refused));
                }
                blobs::note(tx, &blob, size, new.at).await?;
                let insert = "insert into package (entity_id, name, dl_filename, blob_id, created_at, updated_at) \
                    values ($1, $2, $3, $4, $5, $5) returning package_id as n";
                let args: [Value; 5] =
                    [new.entity.0.into(), new.name.into(), new.dl_filename.into(), blob.into(), new.at.0.into()];
                Ok(Ok(PackageId(only_number(tx, Statement::new(insert, args)).await?)))
            })
        })
        .await
    }

    /// Another content for a package, with what stands in it. Where its version code is another one, the tasks that deploy
    /// it begin anew.
    ///
    /// # Errors
    /// The database or the disk failed.
    pub async fn replace_package(
        &self,
        id: PackageId,
        content: Content,
        dl_filename: String,
        parsed: Parsed,
        at: Timestamp,
    ) -> Answer<Touched> {
        let (blob, size) = (content.blob.clone(), content.size);
        let deed = Deed::to(Action::PackageReplace, Subject::Package, id).with("sha256", blob.as_str());
        let replaced = self
            .write_with_content(deed, content, move |tx| {
                Box::pin(async move {
                    let question = "select blob_id, version_code from package where package_id = $1";
                    let Some(row) = tx.row(Statement::new(question, [id.0.into()])).await? else {
                        return Ok(Err(absent_package(id)));
                    };
                    let (old, is_same) = (row.text("blob_id"), row.text("version_code") == parsed.version_code);
                    blobs::note(tx, &blob, size, at).await?;
                    let update = "update package set blob_id = $2, dl_filename = $3, updated_at = $4, package_name = $5, \
                        version = $6, version_code = $7, alias = $8, icon = $9, parse_status = 'parsed', parse_error = '' \
                        where package_id = $1";
                    let which = [id.0.into(), blob.into(), dl_filename.into(), at.0.into()];
                    tx.execute(Statement::new(update, [&which[..], &parsed.values()].concat())).await?;
                    blobs::forget_unused(tx, &old).await?;
                    let touched = match is_same {
                        true => Touched::default(),
                        false => task::republish(tx, ItemId::Package(id), at).await?,
                    };
                    Ok(Ok((old, touched)))
                })
            })
            .await?;
        self.discard_replaced(replaced).await
    }

    /// Packages that were not read yet, oldest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn pending_packages(&self) -> Result<Vec<PendingPackage>, StoreError> {
        let question = "select package_id, blob_id, dl_filename from package where parse_status = 'pending' \
            order by package_id limit $1";
        let pending = |row: &Row| PendingPackage {
            id: PackageId(row.int("package_id")),
            blob: row.text("blob_id"),
            dl_filename: row.text("dl_filename"),
        };
        Ok(self.rows(Statement::new(question, [LIST_ROWS_MAX.into()])).await?.iter().map(pending).collect())
    }

    /// Writes down what was read in an archive, or why it could not be, unless another content came meanwhile. Tasks that
    /// waited for it begin.
    ///
    /// # Errors
    /// The database failed.
    pub async fn note_parsed(
        &self,
        package: PendingPackage,
        outcome: Result<Parsed, String>,
        at: Timestamp,
    ) -> Result<Touched, StoreError> {
        let which = [package.id.0.into(), package.blob.into()];
        let is_parsed = outcome.is_ok();
        let statement = match outcome {
            Ok(parsed) => Statement::new(
                "update package set parse_status = 'parsed', parse_error = '', package_name = $3, version = $4, \
                 version_code = $5, alias = $6, icon = $7 \
                 where package_id = $1 and blob_id = $2 and parse_status = 'pending'",
                [&which[..], &parsed.values()].concat(),
            ),
            Err(reason) => Statement::new(
                "update package set parse_status = 'failed', parse_error = $3 \
                 where package_id = $1 and blob_id = $2 and parse_status = 'pending'",
                [&which[..], &[reason.into()]].concat(),
            ),
        };
        self.write(move |tx| {
            Box::pin(async move {
                let is_written = tx.execute(statement).await? > 0;
                match is_written && is_parsed {
                    true => task::republish(tx, ItemId::Package(package.id), at).await,
                    false => Ok(Touched::default()),
                }
            })
        })
        .await
    }

    /// Another name for a package.
    ///
    /// # Errors
    /// The database failed.
    pub async fn rename_package(&self, id: PackageId, name: String) -> Answer<()> {
        let deed = Deed::to(Action::PackageChange, Subject::Package, id).with("name", name.as_str());
        let statement =
            Statement::new("update package set name = $2 where package_id = $1", [id.0.into(), name.into()]);
        self.deed(deed, move |tx| {
            Box::pin(
                async move { Ok(if tx.execute(statement).await? == 0 { Err(absent_package(id)) } else { Ok(()) }) },
            )
        })
        .await
    }

    /// Removes a package; the tasks that deploy it are taken back first.
    ///
    /// # Errors
    /// The database or the disk failed.
    pub async fn remove_package(&self, id: PackageId, at: Timestamp, removal_until: Timestamp) -> Answer<Touched> {
        let removed = self
            .deed(Deed::to(Action::PackageRemove, Subject::Package, id), move |tx| {
                Box::pin(async move {
                    let Some(old) = content_of(tx, "select blob_id from package where package_id = $1", id.0).await?
                    else {
                        return Ok(Err(absent_package(id)));
                    };
                    let touched = task::remove_tasks_of(tx, ItemId::Package(id), at, removal_until).await?;
                    tx.execute(Statement::new("delete from package where package_id = $1", [id.0.into()])).await?;
                    blobs::forget_unused(tx, &old).await?;
                    Ok(Ok((old, touched)))
                })
            })
            .await?;
        self.discard_replaced(removed).await
    }
}

fn absent_package(id: PackageId) -> Refused {
    Refused::Absent(format!("there is no package {id}"))
}

fn view(row: &Row) -> PackageView {
    PackageView {
        id: PackageId(row.int("package_id")),
        entity: EntityId(row.int("entity_id")),
        name: row.text("name"),
        alias: row.text("alias"),
        package_name: row.text("package_name"),
        version: row.text("version"),
        version_code: row.text("version_code"),
        icon: row.text("icon"),
        dl_filename: row.text("dl_filename"),
        parse_status: row.text("parse_status"),
        parse_error: row.text("parse_error"),
        size: size_of(row),
        blob: row.text("blob_id"),
        created_at: Timestamp(row.int("created_at")),
        updated_at: Timestamp(row.int("updated_at")),
    }
}
