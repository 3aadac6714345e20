//! A content on its way in, as multipart: the part `file` goes to the disk as it comes, the other parts are short texts.

use std::{collections::BTreeMap, time::Duration};

use axum::extract::multipart::{Field, Multipart, MultipartError};
use tokio::time::timeout;

use crate::{
    flows::{
        Flows,
        administer::Refused,
        files::{Described, NotReceived},
    },
    ids::EntityId,
    metrics::Outcome,
    store::blobs::Content,
};

/// Parts of one request.
const PARTS_MAX: usize = 16;
/// Bytes of a part that is a text.
const TEXT_BYTES_MAX: usize = 64 << 10;
/// How long what a refused client goes on sending is thrown away, so that it gets to read its answer.
const DRAINED_FOR: Duration = Duration::from_secs(3);

/// Why there is no content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// The disk or its limits.
    #[error(transparent)]
    NotReceived(#[from] NotReceived),
    /// The request makes no sense.
    #[error("{0}")]
    Malformed(String),
    /// What was sent may not be.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// No byte came for too long.
    #[error("the upload stalled")]
    Stalled,
}

impl From<MultipartError> for NotTaken {
    fn from(error: MultipartError) -> Self {
        NotTaken::Malformed(format!("File upload failed: {}", error.body_text()))
    }
}

/// Everything that came.
#[derive(Debug)]
pub struct Received {
    /// On the disk.
    pub content: Content,
    /// Name and type as the client gave them.
    pub described: Described,
    /// The other parts.
    pub texts: BTreeMap<String, String>,
}

/// Reads a request to its end. `may_be_called` is asked before the first byte of the content is taken.
///
/// # Errors
/// Why there is no content.
pub async fn read(
    flows: &Flows,
    mut multipart: Multipart,
    may_be_called: fn(&str) -> Result<String, Refused>,
) -> Result<Received, NotTaken> {
    let outcome = parts(flows, &mut multipart, may_be_called).await;
    let word = if outcome.is_ok() { "stored" } else { "refused" };
    flows.metrics.uploads.get_or_create(&Outcome { outcome: word }).inc();
    if outcome.is_err() {
        // It ends by itself, by an error or by time, and all three are fine.
        let _ = timeout(DRAINED_FOR, drain(&mut multipart)).await;
    }
    outcome
}

async fn parts(
    flows: &Flows,
    multipart: &mut Multipart,
    may_be_called: fn(&str) -> Result<String, Refused>,
) -> Result<Received, NotTaken> {
    let stall = Duration::from_secs(flows.config.files.stall_timeout_s.into());
    let mut texts = BTreeMap::new();
    let mut file = None;
    for _ in 0..PARTS_MAX {
        let Some(field) = timeout(stall, multipart.next_field()).await.map_err(|_| NotTaken::Stalled)?? else {
            let (content, described) = file.ok_or_else(|| NotTaken::Malformed("No file uploaded".into()))?;
            let described = completed(described, &texts)?;
            return Ok(Received { content, described, texts });
        };
        let name = field.name().unwrap_or_default().to_owned();
        if name != "file" {
            texts.insert(name, text(field, stall).await?);
            continue;
        }
        if file.is_some() {
            return Err(NotTaken::Malformed("one file at a time".into()));
        }
        let filename = last_part(field.file_name().unwrap_or_default());
        if filename.is_empty() {
            return Err(NotTaken::Malformed("File uploaded without name".into()));
        }
        may_be_called(&filename)?;
        let mime_type = field.content_type().unwrap_or_default().to_owned();
        let content = content(flows, field, stall).await?;
        file = Some((content, Described { filename, mime_type, ..Described::default() }));
    }
    Err(NotTaken::Malformed(format!("a request has at most {PARTS_MAX} parts")))
}

async fn content(flows: &Flows, mut field: Field<'_>, stall: Duration) -> Result<Content, NotTaken> {
    let mut upload = flows.receive().await?;
    while let Some(piece) = timeout(stall, field.chunk()).await.map_err(|_| NotTaken::Stalled)?? {
        upload.take(&piece).await?;
    }
    Ok(upload.finish().await?)
}

async fn text(mut field: Field<'_>, stall: Duration) -> Result<String, NotTaken> {
    let mut bytes = Vec::new();
    while let Some(piece) = timeout(stall, field.chunk()).await.map_err(|_| NotTaken::Stalled)?? {
        if bytes.len() + piece.len() > TEXT_BYTES_MAX {
            return Err(NotTaken::Malformed(format!("a text has at most {TEXT_BYTES_MAX} bytes")));
        }
        bytes.extend_from_slice(&piece);
    }
    String::from_utf8(bytes).map_err(|_| NotTaken::Malformed("a text is not UTF-8".into()))
}

async fn drain(multipart: &mut Multipart) {
    while let Ok(Some(mut field)) = multipart.next_field().await {
        while let Ok(Some(_)) = field.chunk().await {}
    }
}

/// What the texts `entity`, `name` and `comment` say.
fn completed(described: Described, texts: &BTreeMap<String, String>) -> Result<Described, NotTaken> {
    let given = |name: &str| texts.get(name).map(|it| it.trim()).filter(|it| !it.is_empty());
    let entity = given("entity").map(str::parse::<EntityId>).transpose();
    let entity = entity.map_err(|_| NotTaken::Malformed("the entity is not a number".into()))?;
    let name = given("name").map(str::to_owned);
    Ok(Described { entity, name, comment: given("comment").unwrap_or_default().to_owned(), ..described })
}

/// Some clients send a path.
fn last_part(name: &str) -> String {
    name.rsplit(['/', '\\']).next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_part_of_a_path_is_a_name() {
        assert_eq!(last_part("C:\\files\\a.apk"), "a.apk");
        assert_eq!(last_part("/home/ann/a.apk "), "a.apk");
        assert_eq!(last_part("a.apk"), "a.apk");
        assert_eq!(last_part("files/"), "");
    }

    #[test]
    fn texts_complete_what_is_known_of_a_file() {
        let texts = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let described =
            completed(Described::default(), &texts(&[("entity", "76"), ("name", " a "), ("comment", "")])).unwrap();
        assert_eq!((described.entity, described.name.as_deref()), (Some(EntityId(76)), Some("a")));
        assert!(completed(Described::default(), &texts(&[("entity", "x")])).is_err());
        let described = completed(Described::default(), &texts(&[("entity", ""), ("name", "")])).unwrap();
        assert_eq!((described.entity, described.name), (None, None));
    }
}
