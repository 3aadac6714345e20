//! Secrets that go to a file instead of the terminal. The file is made before the server is asked: one that cannot be made must not cost
//! a secret that is shown once, and one that is there already is never overwritten.

use std::{fs, io::Write, path::PathBuf};

use serde_json::{Value, json};

use super::Failure;
use crate::datadir::make_private;

/// Asks, and moves `member` of the answer into the file, if one is given; the answer then says in `told_as` which. A server that refuses
/// leaves no file.
pub async fn kept_in(
    file: Option<PathBuf>,
    member: &str,
    told_as: &str,
    asked: impl Future<Output = Result<Value, Failure>>,
) -> Result<Value, Failure> {
    let Some(path) = file else { return asked.await };
    let mut place = make_private(&path)?;
    let mut answer = match asked.await {
        Ok(answer) => answer,
        Err(refused) => {
            // It is empty; where it cannot be removed, the refusal is what matters.
            let _ = fs::remove_file(&path);
            return Err(refused);
        }
    };
    let secret = answer[member].as_str().ok_or_else(|| Failure(format!("the server sent no {member}")))?;
    let written = place.write_all(secret.as_bytes()).and_then(|()| place.sync_all());
    let name = path.display();
    written.map_err(|e| Failure(format!("what was made has a secret that could not be written to {name}: {e}")))?;
    answer[member] = Value::Null;
    answer[told_as] = json!(name.to_string());
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    async fn kept(path: PathBuf, answer: Result<Value, Failure>) -> Result<Value, Failure> {
        kept_in(Some(path), "password", "password_file", async { answer }).await
    }

    fn made() -> Result<Value, Failure> {
        Ok(json!({ "password": "s3cret" }))
    }

    #[tokio::test]
    async fn a_secret_is_written_for_its_owner_only_and_leaves_the_answer() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("password");
        let answer = kept(path.clone(), made()).await.unwrap();
        assert_eq!(answer, json!({ "password": null, "password_file": path.display().to_string() }));
        assert_eq!(fs::read_to_string(&path).unwrap(), "s3cret");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn nothing_is_asked_when_the_file_is_there_or_cannot_be_made() {
        let home = tempfile::tempdir().unwrap();
        let taken = home.path().join("taken");
        fs::write(&taken, "precious").unwrap();
        for (path, why) in [(taken.clone(), "is there already"), (home.path().join("none/file"), "cannot write")] {
            let asked = async { panic!("the server was asked") };
            let Failure(said) = kept_in(Some(path), "password", "password_file", asked).await.unwrap_err();
            assert!(said.contains(why), "{said}");
        }
        assert_eq!(fs::read_to_string(&taken).unwrap(), "precious");
    }

    #[tokio::test]
    async fn a_refusal_leaves_no_file() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("password");
        assert!(kept(path.clone(), Err(Failure("no".into()))).await.is_err());
        assert!(!path.exists());
    }
}
