//! Files, packages and the paths that files may go to. SQL only; refusals are values. A row and its content come and go
//! together: the content is on the disk before the row is committed, and removed after the last row that needs it.

use super::{
    Store, StoreError,
    administer::{Answer, LIST_ROWS_MAX, Refused},
    blobs::{self, Content},
    db::{Row, Statement, Tx, Value},
    session::Owner,
    task::{self, Touched},
};
use crate::{
    clock::Timestamp,
    ids::{EntityId, FileId},
    mdm::{
        audit::{Action, Deed, Subject},
        policy::ItemId,
    },
};

mod packages;
mod paths;

pub use packages::{NewPackage, PackageView, Parsed, PendingPackage};
pub use paths::PathView;

/// Files, and packages, that there may be.
pub const ITEMS_MAX: i64 = LIST_ROWS_MAX;

/// A file as people and agents see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileView {
    /// Key.
    pub id: FileId,
    /// Whose.
    pub entity: EntityId,
    /// What it is called on the device.
    pub name: String,
    /// For people.
    pub comment: String,
    /// Grows with each upload.
    pub version: i64,
    /// Bytes of the content.
    pub size: u64,
    /// SHA-256 of the content.
    pub blob: String,
    /// What the uploader said it is.
    pub mime_type: String,
    /// First upload.
    pub created_at: Timestamp,
    /// Latest upload.
    pub updated_at: Timestamp,
}

/// A file that is about to be added.
#[derive(Debug, Clone)]
pub struct NewFile {
    /// Whose.
    pub entity: EntityId,
    /// What it is called on the device.
    pub name: String,
    /// For people.
    pub comment: String,
    /// What the uploader says it is.
    pub mime_type: String,
    /// Now.
    pub at: Timestamp,
}

const FILE_VIEW: &str = "select f.file_id, f.entity_id, f.name, f.comment, f.version, f.blob_id, b.size_bytes, f.mime_type, \
    f.created_at, f.updated_at from file f join blob b on b.blob_id = f.blob_id";

impl Store {
    /// The files of one tenant, or of all.
    ///
    /// # Errors
    /// The database failed.
    pub async fn files(&self, entity: Option<EntityId>) -> Result<Vec<FileView>, StoreError> {
        let (lowest, highest) = entity.map_or((i64::MIN, i64::MAX), |it| (it.0, it.0));
        let question = format!("{FILE_VIEW} where f.entity_id >= $1 and f.entity_id <= $2 order by f.file_id limit $3");
        let args = [lowest.into(), highest.into(), LIST_ROWS_MAX.into()];
        Ok(self.rows(Statement::new(question, args)).await?.iter().map(file_view).collect())
    }

    /// One file.
    ///
    /// # Errors
    /// The database failed.
    pub async fn file(&self, id: FileId) -> Result<Option<FileView>, StoreError> {
        let question = format!("{FILE_VIEW} where f.file_id = $1");
        Ok(self.row(Statement::new(question, [id.0.into()])).await?.as_ref().map(file_view))
    }

    /// One file, if this owner of a session may see it.
    ///
    /// # Errors
    /// The database failed.
    pub async fn file_for(&self, owner: Owner, id: FileId) -> Result<Option<FileView>, StoreError> {
        let question =
            format!("{} {FILE_VIEW} where f.file_id = $1 and {}", visible_to(owner), is_visible("f.entity_id"));
        Ok(self.row(Statement::new(question, [id.0.into(), owner_id(owner)])).await?.as_ref().map(file_view))
    }

    /// A new file.
    ///
    /// # Errors
    /// The database or the disk failed.
    pub async fn add_file(&self, new: NewFile, content: Content) -> Answer<FileId> {
        let (blob, size) = (content.blob.clone(), content.size);
        let deed =
            Deed::new(Action::FileAdd, Subject::File).with("name", new.name.as_str()).with("sha256", blob.as_str());
        self.write_with_content(deed, content, move |tx| {
            Box::pin(async move {
                if let Err(refused) = there_is_room(tx, new.entity, "select count(*) as n from file").await? {
                    return Ok(Err(refused));
                }
                blobs::note(tx, &blob, size, new.at).await?;
                let insert = "insert into file (entity_id, name, comment, blob_id, mime_type, created_at, updated_at) \
                    values ($1, $2, $3, $4, $5, $6, $6) returning file_id as n";
                let args: [Value; 6] = [
                    new.entity.0.into(),
                    new.name.into(),
                    new.comment.into(),
                    blob.into(),
                    new.mime_type.into(),
                    new.at.0.into(),
                ];
                Ok(Ok(FileId(only_number(tx, Statement::new(insert, args)).await?)))
            })
        })
        .await
    }

    /// Another content for a file: its next version. The tasks that deploy it begin anew.
    ///
    /// # Errors
    /// The database or the disk failed.
    pub async fn replace_file(
        &self,
        id: FileId,
        content: Content,
        mime_type: String,
        at: Timestamp,
    ) -> Answer<Touched> {
        let (blob, size) = (content.blob.clone(), content.size);
        let deed = Deed::to(Action::FileReplace, Subject::File, id).with("sha256", blob.as_str());
        let replaced = self
            .write_with_content(deed, content, move |tx| {
                Box::pin(async move {
                    let Some(old) = content_of(tx, "select blob_id from file where file_id = $1", id.0).await? else {
                        return Ok(Err(absent_file(id)));
                    };
                    blobs::note(tx, &blob, size, at).await?;
                    let update = "update file set blob_id = $2, mime_type = $3, version = version + 1, updated_at = $4 \
                        where file_id = $1";
                    let args = [id.0.into(), blob.into(), mime_type.into(), at.0.into()];
                    tx.execute(Statement::new(update, args)).await?;
                    blobs::forget_unused(tx, &old).await?;
                    Ok(Ok((old, task::republish(tx, ItemId::File(id), at).await?)))
                })
            })
            .await?;
        self.discard_replaced(replaced).await
    }

    /// Another name or comment for a file.
    ///
    /// # Errors
    /// The database failed.
    pub async fn change_file(&self, id: FileId, name: Option<String>, comment: Option<String>) -> Answer<()> {
        let deed = Deed::to(Action::FileChange, Subject::File, id).with("name", name.clone());
        let update = "update file set name = coalesce($2, name), comment = coalesce($3, comment) where file_id = $1";
        let statement = Statement::new(update, [id.0.into(), Value::Text(name), Value::Text(comment)]);
        self.deed(deed, move |tx| {
            Box::pin(async move { Ok(if tx.execute(statement).await? == 0 { Err(absent_file(id)) } else { Ok(()) }) })
        })
        .await
    }

    /// Removes a file; the tasks that deploy it are taken back first.
    ///
    /// # Errors
    /// The database or the disk failed.
    pub async fn remove_file(&self, id: FileId, at: Timestamp, removal_until: Timestamp) -> Answer<Touched> {
        let removed = self
            .deed(Deed::to(Action::FileRemove, Subject::File, id), move |tx| {
                Box::pin(async move {
                    let Some(old) = content_of(tx, "select blob_id from file where file_id = $1", id.0).await? else {
                        return Ok(Err(absent_file(id)));
                    };
                    let touched = task::remove_tasks_of(tx, ItemId::File(id), at, removal_until).await?;
                    tx.execute(Statement::new("delete from file where file_id = $1", [id.0.into()])).await?;
                    blobs::forget_unused(tx, &old).await?;
                    Ok(Ok((old, touched)))
                })
            })
            .await?;
        self.discard_replaced(removed).await
    }

    /// Removes the content that a story took away, once it is committed.
    pub(super) async fn discard_replaced(&self, answer: Result<(String, Touched), Refused>) -> Answer<Touched> {
        match answer {
            Ok((old, touched)) => self.discard(vec![old]).await.map(|()| Ok(touched)),
            Err(refused) => Ok(Err(refused)),
        }
    }
}

/// The entities whose items the owner of a session sees: an agent those of its entity and of the entities above it;
/// whoever shows an invitation those that its agent would see; a
/// person likewise for every entity that he was invited to or has a profile on, and with a profile that is recursive and
/// not a guest's those of the entities below as well.
fn visible_to(owner: Owner) -> &'static str {
    match owner {
        Owner::Agent(_) => {
            "with recursive seen (entity_id, below) as ( \
             select entity_id, false from agent where agent_id = $2 \
             union select e.parent_id, false from entity e join seen s on s.entity_id = e.entity_id where e.parent_id is not null)"
        }
        Owner::Invited(..) => {
            "with recursive seen (entity_id, below) as ( \
             select entity_id, false from invitation where invitation_id = $2 \
             union select entity_id, false from agent where invitation_id = $2 \
             union select e.parent_id, false from entity e join seen s on s.entity_id = e.entity_id where e.parent_id is not null)"
        }
        Owner::Person(_) => {
            "with recursive home (entity_id, below) as ( \
             select entity_id, false from invitation where person_id = $2 \
             union select entity_id, false from person_profile where person_id = $2 \
             union select entity_id, true from person_profile where person_id = $2 and is_recursive and profile <> 'guest'), \
             seen (entity_id, below) as (select entity_id, below from home \
             union select case when s.below then e.entity_id else p.parent_id end, s.below from seen s \
             join entity p on p.entity_id = s.entity_id \
             left join entity e on s.below and e.parent_id = s.entity_id \
             where case when s.below then e.entity_id is not null else p.parent_id is not null end)"
        }
    }
}

fn is_visible(column: &str) -> String {
    format!("{column} in (select entity_id from seen)")
}

fn owner_id(owner: Owner) -> Value {
    match owner {
        Owner::Agent(id) => id.0.into(),
        Owner::Person(id) => id.0.into(),
        Owner::Invited(_, invitation) => invitation.0.into(),
    }
}

/// Whether the tenant is there and one more item may be.
async fn there_is_room(tx: &mut Tx, entity: EntityId, count: &'static str) -> Answer<()> {
    let tenant = Statement::new("select 1 as n from entity where entity_id = $1", [entity.0.into()]);
    if tx.row(tenant).await?.is_none() {
        return Ok(Err(Refused::Absent(format!("there is no entity {entity}"))));
    }
    if only_number(tx, Statement::new(count, [])).await? >= ITEMS_MAX {
        return Ok(Err(Refused::Conflict(format!("there are {ITEMS_MAX} of them already; remove some first"))));
    }
    Ok(Ok(()))
}

async fn content_of(tx: &mut Tx, question: &'static str, id: i64) -> Result<Option<String>, StoreError> {
    Ok(tx.row(Statement::new(question, [id.into()])).await?.map(|row| row.text("blob_id")))
}

/// The column `n` of the only row.
async fn only_number(tx: &mut Tx, statement: Statement) -> Result<i64, StoreError> {
    match tx.row(statement).await? {
        Some(row) => Ok(row.int("n")),
        None => Err(StoreError::Database("a statement that always answers did not".into())),
    }
}

fn absent_file(id: FileId) -> Refused {
    Refused::Absent(format!("there is no file {id}"))
}

fn file_view(row: &Row) -> FileView {
    FileView {
        id: FileId(row.int("file_id")),
        entity: EntityId(row.int("entity_id")),
        name: row.text("name"),
        comment: row.text("comment"),
        version: row.int("version"),
        size: size_of(row),
        blob: row.text("blob_id"),
        mime_type: row.text("mime_type"),
        created_at: Timestamp(row.int("created_at")),
        updated_at: Timestamp(row.int("updated_at")),
    }
}

fn size_of(row: &Row) -> u64 {
    u64::try_from(row.int("size_bytes")).unwrap_or_default()
}
