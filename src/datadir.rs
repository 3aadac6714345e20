//! The data directory: who may read it, the administrator's token, and the file that tells the command line which ports are open.
//! It does not know what the database or the certificates look like.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// Random bytes in an admin token; it is written as twice as many hexadecimal digits.
const TOKEN_BYTES: usize = 32;

/// Something about the data directory does not work: one sentence for the person who started the program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DataDirError(pub String);

/// Ports that are open; those that are off are absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// MQTT over TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mqtt_tls: Option<u16>,
    /// MQTT without TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mqtt_tcp: Option<u16>,
    /// MQTT over WebSocket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mqtt_ws: Option<u16>,
    /// MQTT over secure WebSocket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mqtt_wss: Option<u16>,
    /// The agents' API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<u16>,
    /// The agents' API over TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_tls: Option<u16>,
    /// The admin API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<u16>,
    /// The address the admin API is bound to, without its port; absent: 127.0.0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_host: Option<std::net::IpAddr>,
}

/// The directory of the database, certificates, uploaded files and the admin token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// Names a directory that may or may not exist.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Names a directory and makes it (mode 0700) where it is missing.
    ///
    /// # Errors
    /// It cannot be made, or is a file.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, DataDirError> {
        let path = path.into();
        make_private_directory(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Keeps a second server out of the same directory for as long as the answer lives.
    ///
    /// # Errors
    /// Another server runs on it.
    pub fn lock(&self) -> Result<File, DataDirError> {
        let path = self.0.join("serve.lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| failed("cannot open", &path, &e))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(fs::TryLockError::WouldBlock) => {
                Err(DataDirError(format!("another mdmq already serves the data directory {}", self.0.display())))
            }
            Err(fs::TryLockError::Error(e)) => Err(failed("cannot lock", &path, &e)),
        }
    }

    /// The first administrator's token, made at the first call.
    ///
    /// # Errors
    /// It can be neither read nor written.
    pub fn admin_token(&self) -> Result<String, DataDirError> {
        if let Some(token) = self.stored_admin_token()? {
            return Ok(token);
        }
        let mut random = [0_u8; TOKEN_BYTES];
        getrandom::fill(&mut random).map_err(|e| DataDirError(format!("no random numbers: {e}")))?;
        let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        write_private(&self.0.join("admin-token"), token.as_bytes())?;
        Ok(token)
    }

    /// The token, where a server was started before.
    ///
    /// # Errors
    /// It is there but cannot be read, or is too short to be one.
    pub fn stored_admin_token(&self) -> Result<Option<String>, DataDirError> {
        let path = self.0.join("admin-token");
        match fs::read_to_string(&path) {
            Ok(text) if text.trim().len() >= 40 => Ok(Some(text.trim().to_owned())),
            Ok(_) => Err(DataDirError(format!("{} is damaged; delete it and start the server again", path.display()))),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed("cannot read", &path, &e)),
        }
    }

    /// Says which ports are open.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_ports(&self, ports: &Ports) -> Result<(), DataDirError> {
        let text = serde_json::to_string_pretty(ports).expect("a struct of numbers is always JSON");
        write_private(&self.0.join("ports.json"), format!("{text}\n").as_bytes())
    }

    /// Refuses to work with secrets that others can read, or in a directory where others can exchange files.
    ///
    /// # Errors
    /// One sentence that names the file and says how to put it right.
    pub fn check_secrets(&self) -> Result<(), DataDirError> {
        check_guarded(&self.0)?;
        for name in ["secret.key", "admin-token", "mdmq.sqlite", "mdmq.sqlite-wal", "mdmq.sqlite-shm"] {
            check_private(&self.0.join(name), ONLY_OWNER)?;
        }
        let certs = self.0.join("certs");
        check_guarded(&certs)?;
        for entry in fs::read_dir(certs).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.to_str().is_some_and(|it| it.ends_with("-key.pem") || it.ends_with(".key")) {
                check_private(&path, ONLY_OWNER)?;
            }
            // Who writes the certificate of an authority says whom we believe.
            check_guarded(&path)?;
        }
        Ok(())
    }

    /// Which ports the server that last started on this directory opened.
    ///
    /// # Errors
    /// The file is there but cannot be read.
    pub fn read_ports(&self) -> Result<Option<Ports>, DataDirError> {
        let path = self.0.join("ports.json");
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|e| DataDirError(format!("cannot understand {}: {e}", path.display()))),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed("cannot read", &path, &e)),
        }
    }
}

/// Permissions that a file of ours must not give: any to the group, any to others.
pub const ONLY_OWNER: u32 = 0o077;
/// The same for a file that operators bring along, which a group may share.
pub const NOT_OTHERS: u32 = 0o007;

/// Refuses a file with a secret that more people can read than may. A file that is not there keeps its secret.
///
/// # Errors
/// One sentence that says how to put it right.
pub fn check_private(file: &Path, forbidden: u32) -> Result<(), DataDirError> {
    let Some(mode) = mode(file)?.filter(|it| it & forbidden != 0) else { return Ok(()) };
    let (path, right) = (file.display(), mode & !forbidden & 0o660);
    Err(DataDirError(format!(
        "{path} holds a secret and is open to others (mode {mode:o}); run: chmod {right:o} {path}"
    )))
}

/// Refuses a directory or file that others can exchange. One that is not there cannot be.
fn check_guarded(path: &Path) -> Result<(), DataDirError> {
    let Some(mode) = mode(path)?.filter(|it| it & 0o022 != 0) else { return Ok(()) };
    let (path, right) = (path.display(), if path.is_dir() { 0o700 } else { mode & !0o022 });
    Err(DataDirError(format!("others can write {path} (mode {mode:o}); run: chmod {right:o} {path}")))
}

/// The permissions of a file, if it is there.
fn mode(path: &Path) -> Result<Option<u32>, DataDirError> {
    match fs::metadata(path) {
        Ok(it) => Ok(Some(it.permissions().mode() & 0o777)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed("cannot look at", path, &e)),
    }
}

/// Makes a directory that only its owner may enter; one that exists is left as it is.
///
/// # Errors
/// It cannot be made, or something else has its name.
pub fn make_private_directory(path: &Path) -> Result<(), DataDirError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| failed("cannot make the directory", path, &e))
}

/// Writes a file whole or not at all, readable by its owner only: whoever the directory belongs to. So the service can read what root
/// wrote beside its files.
///
/// # Errors
/// The directory cannot be written.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), DataDirError> {
    let fresh = path.with_extension("new");
    let directory = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || {
        match fs::remove_file(&fresh) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        give_to_owner(&file, &fs::metadata(directory)?)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(|e| failed("cannot write", path, &e))
}

/// Makes an empty file that only its owner can read: whoever the directory belongs to, as for [`write_private`].
///
/// # Errors
/// There is something of this name already, or it cannot be made.
pub fn make_private(path: &Path) -> Result<File, DataDirError> {
    let directory = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let make = || {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        give_to_owner(&file, &fs::metadata(directory)?)?;
        Ok(file)
    };
    make().map_err(|e: std::io::Error| match e.kind() {
        ErrorKind::AlreadyExists => {
            DataDirError(format!("{} is there already: name a new file, nothing is overwritten", path.display()))
        }
        _ => failed("cannot write", path, &e),
    })
}

/// Gives a file to the owner of its directory, where we may: anybody but root keeps what he writes.
fn give_to_owner(file: &File, directory: &fs::Metadata) -> std::io::Result<()> {
    let is = file.metadata()?;
    if (is.uid(), is.gid()) == (directory.uid(), directory.gid()) {
        return Ok(());
    }
    match fchown(file, Some(directory.uid()), Some(directory.gid())) {
        Err(e) if e.kind() != ErrorKind::PermissionDenied => Err(e),
        _ => Ok(()),
    }
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> DataDirError {
    DataDirError(format!("{what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_admin_token_is_made_once_and_only_its_owner_may_read_it() {
        let home = tempfile::tempdir().unwrap();
        let directory = DataDir::open(home.path().join("new/data")).unwrap();
        assert_eq!(directory.stored_admin_token(), Ok(None));
        let token = directory.admin_token().unwrap();
        assert!(token.len() >= 40);
        assert_eq!(directory.admin_token().unwrap(), token);
        assert_eq!(mode(directory.path()), 0o700);
        assert_eq!(mode(&directory.path().join("admin-token")), 0o600);
    }

    #[test]
    fn what_root_writes_belongs_to_whoever_the_directory_belongs_to() {
        let home = tempfile::tempdir().unwrap();
        // Only root can make somebody else's directory; for everybody else this says that nothing goes wrong.
        let _ = std::os::unix::fs::chown(home.path(), Some(12_345), Some(12_346));
        let file = home.path().join("server-key.pem");
        for content in ["one", "two"] {
            write_private(&file, content.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), content);
            let (is, directory) = (fs::metadata(&file).unwrap(), fs::metadata(home.path()).unwrap());
            assert_eq!((is.uid(), is.gid(), mode(&file)), (directory.uid(), directory.gid(), 0o600));
        }
    }

    #[test]
    fn secrets_that_others_can_read_are_refused_with_the_remedy() {
        let home = tempfile::tempdir().unwrap();
        let directory = DataDir::open(home.path()).unwrap();
        assert_eq!(directory.check_secrets(), Ok(()));
        fs::create_dir(home.path().join("certs")).unwrap();
        for name in ["secret.key", "admin-token", "mdmq.sqlite", "certs/ca-key.pem"] {
            let path = home.path().join(name);
            fs::write(&path, "x").unwrap();
            for (mode, is_fine) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o660, false)] {
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                assert_eq!(directory.check_secrets().is_ok(), is_fine, "{name} {mode:o}");
            }
            let complaint = directory.check_secrets().unwrap_err().to_string();
            assert!(complaint.ends_with(&format!("run: chmod 600 {}", path.display())), "{complaint}");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let key = home.path().join("theirs.pem");
        fs::write(&key, "x").unwrap();
        for (mode, is_fine) in [(0o640, true), (0o644, false)] {
            fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(check_private(&key, NOT_OTHERS).is_ok(), is_fine, "{mode:o}");
        }
        fs::write(home.path().join("certs/ca.pem"), "x").unwrap();
        for (name, open, right) in [("certs/ca.pem", 0o664, 0o644), ("certs", 0o775, 0o700), (".", 0o777, 0o700)] {
            let path = home.path().join(name);
            fs::set_permissions(&path, fs::Permissions::from_mode(open)).unwrap();
            let complaint = directory.check_secrets().unwrap_err().to_string();
            assert!(
                complaint.contains("others can write") && complaint.contains(&format!("chmod {right:o} ")),
                "{complaint}"
            );
            fs::set_permissions(&path, fs::Permissions::from_mode(right)).unwrap();
            assert_eq!(directory.check_secrets(), Ok(()));
        }
    }

    #[test]
    fn the_ports_file_holds_only_what_is_on() {
        let home = tempfile::tempdir().unwrap();
        let directory = DataDir::open(home.path()).unwrap();
        assert_eq!(directory.read_ports(), Ok(None));
        let ports = Ports { mqtt_tls: Some(8883), admin: Some(8081), ..Ports::default() };
        directory.write_ports(&ports).unwrap();
        assert_eq!(directory.read_ports(), Ok(Some(ports)));
        let text = fs::read_to_string(home.path().join("ports.json")).unwrap();
        assert!(text.contains("\"mqtt_tls\": 8883") && !text.contains("mqtt_ws"));
    }

    #[test]
    fn two_servers_do_not_share_a_directory() {
        let home = tempfile::tempdir().unwrap();
        let directory = DataDir::open(home.path()).unwrap();
        let held = directory.lock().unwrap();
        assert!(directory.lock().is_err());
        drop(held);
        assert!(directory.lock().is_ok());
    }

    #[test]
    fn a_file_in_the_way_is_one_clear_sentence() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        fs::write(&path, "x").unwrap();
        let error = DataDir::open(&path).unwrap_err().to_string();
        assert!(error.contains("cannot make the directory") && !error.contains('\n'), "{error}");
    }
}
