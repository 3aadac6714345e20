//! Asks the running server, found by the files in its data directory.

use std::{net::IpAddr, path::Path, time::Duration};

use reqwest::{
    Body, Client, Method, StatusCode, header,
    multipart::{Form, Part},
};
use serde_json::Value;

use super::{Failure, Place};
use crate::datadir::{DataDir, Ports};

/// Longer than any wait that the server grants.
const PATIENCE: Duration = Duration::from_secs(330);
/// Longer than any upload.
const UPLOAD_PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// Bytes of an upload that are read at once.
const PIECE_BYTES: usize = 256 << 10;

/// Longer than the largest move takes.
const LONG_PATIENCE: Duration = Duration::from_secs(6 * 3600);

/// The admin API of one server.
pub struct Api {
    client: Client,
    base: String,
    token: String,
    /// Where the server was found; `None`: it was named.
    data_dir: Option<String>,
}

impl Api {
    /// Reads where the server is; does not connect yet.
    pub fn of(place: &Place) -> Result<Self, Failure> {
        let data_dir = place.data_dir.display().to_string();
        let never = || {
            Failure(format!(
                "no server was ever started on the data directory {data_dir}: is `mdmq serve` running with --data-dir {data_dir}?"
            ))
        };
        let directory = DataDir::at(&place.data_dir);
        let base = match &place.server {
            Some(server) => base_named(server)?,
            None => directory.read_ports()?.and_then(base_of).ok_or_else(never)?,
        };
        let token = match &place.token_file {
            Some(file) => {
                let text = std::fs::read_to_string(file);
                text.map_err(|e| Failure(format!("cannot read {}: {e}", file.display())))?.trim().to_owned()
            }
            None => directory.stored_admin_token()?.ok_or_else(|| match &place.server {
                Some(server) => {
                    Failure(format!("{server} wants an admin token: name its file with --admin-token-file"))
                }
                None => never(),
            })?,
        };
        let client = Client::builder().no_proxy().timeout(PATIENCE).build()?;
        let data_dir = place.server.is_none().then_some(data_dir);
        Ok(Self { client, base, token, data_dir })
    }

    /// Looks at something.
    pub async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.send(self.request(Method::GET, path)).await
    }

    /// Adds something.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// Adds something that takes its time.
    pub async fn post_patiently(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.send(self.request(Method::POST, path).timeout(LONG_PATIENCE).json(body)).await
    }

    /// Changes something.
    pub async fn patch(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.send(self.request(Method::PATCH, path).json(body)).await
    }

    /// Removes something.
    pub async fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// Sends a CSV file.
    pub async fn import(&self, csv: Vec<u8>) -> Result<Value, Failure> {
        self.csv("/import", csv).await
    }

    /// Sends a CSV file somewhere.
    pub async fn csv(&self, path: &str, csv: Vec<u8>) -> Result<Value, Failure> {
        self.send(self.request(Method::POST, path).header("content-type", "text/csv").body(csv)).await
    }

    /// Streams a file, with the texts that are given beside it.
    pub async fn upload<const N: usize>(
        &self,
        method: Method,
        path: &str,
        file: &Path,
        texts: [(&'static str, Option<String>); N],
    ) -> Result<Value, Failure> {
        let unreadable = |e: std::io::Error| Failure(format!("cannot read {}: {e}", file.display()));
        let content = std::fs::File::open(file).map_err(unreadable)?;
        let metadata = content.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(Failure(format!("{} is not a file", file.display())));
        }
        let name = file.file_name().map(|it| it.to_string_lossy().into_owned()).unwrap_or_default();
        let bar = progress(metadata.len());
        let part = Part::stream_with_length(streamed(content, bar.clone()), metadata.len()).file_name(name);
        let mut form = Form::new();
        for (name, text) in texts {
            if let Some(text) = text {
                form = form.text(name, text);
            }
        }
        let request = self.request(method, path).timeout(UPLOAD_PATIENCE).multipart(form.part("file", part));
        let answer = self.send(request).await;
        bar.finish_and_clear();
        answer
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}/api/v1{path}", self.base)).bearer_auth(&self.token)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Value, Failure> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS {
            let wait = response.headers().get(header::RETRY_AFTER).and_then(|it| it.to_str().ok());
            return Err(Failure(banned(wait)));
        }
        let foreign = || {
            let base = &self.base;
            Failure(format!(
                "{base} answers {status}, but not as the admin API does (admin.listen, by default port 8081)"
            ))
        };
        let body: Value = response.json().await.map_err(|_| foreign())?;
        match status.is_success() {
            true => Ok(body),
            false => Err(complaint(&body).map_or_else(foreign, Failure)),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        if error.is_timeout() {
            return Failure(format!("the server at {} did not answer in time", self.base));
        }
        let (base, cause) = (&self.base, innermost(error));
        let hint = self.data_dir.as_ref().map(|it| format!(": is `mdmq serve` running with --data-dir {it}?"));
        Failure(format!("cannot reach the server at {base} ({cause}){}", hint.unwrap_or_default()))
    }
}

/// The base that was typed.
fn base_named(server: &str) -> Result<String, Failure> {
    let is_whole = |scheme| server.get(..str::len(scheme)).is_some_and(|it| it.eq_ignore_ascii_case(scheme));
    if ["http://", "https://"].into_iter().any(is_whole) {
        return Ok(server.trim_end_matches('/').to_owned());
    }
    Err(Failure(format!("--server {server} lacks http:// or https:// at its beginning")))
}

/// What is below all that wraps it.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

fn banned(wait: Option<&str>) -> String {
    let until = wait.map_or("for a while".to_owned(), |it| format!("for another {it} s"));
    format!(
        "the admin token is wrong, as too many before it were: this address is banned {until} (a right token gets in)"
    )
}

/// Where the server that last started on the directory has its admin API.
fn base_of(ports: Ports) -> Option<String> {
    let port = ports.admin?;
    Some(match ports.admin_host {
        Some(IpAddr::V6(host)) if !host.is_unspecified() => format!("http://[{host}]:{port}"),
        Some(IpAddr::V6(_)) => format!("http://[::1]:{port}"),
        Some(IpAddr::V4(host)) if !host.is_unspecified() => format!("http://{host}:{port}"),
        _ => format!("http://127.0.0.1:{port}"),
    })
}

/// Hidden by itself when stderr is no terminal.
fn progress(bytes: u64) -> indicatif::ProgressBar {
    let style = indicatif::ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    indicatif::ProgressBar::new(bytes).with_style(style.unwrap_or_else(|_| indicatif::ProgressStyle::default_bar()))
}

/// The file piece by piece, as the server takes it.
fn streamed(file: std::fs::File, bar: indicatif::ProgressBar) -> Body {
    let file = tokio::fs::File::from_std(file);
    Body::wrap_stream(futures_util::stream::try_unfold((file, bar), |(mut file, bar)| async move {
        let mut piece = vec![0; PIECE_BYTES];
        let read = tokio::io::AsyncReadExt::read(&mut file, &mut piece).await?;
        if read == 0 {
            return Ok::<_, std::io::Error>(None);
        }
        piece.truncate(read);
        bar.inc(read as u64);
        Ok(Some((piece, (file, bar))))
    }))
}

/// A value inside a path or query.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            quoted.push(char::from(byte));
        } else {
            quoted.push_str(&format!("%{byte:02X}"));
        }
    }
    quoted
}

/// `?a=1&b=2` of those that are given.
pub fn query(wishes: &[(&str, Option<String>)]) -> String {
    let given = wishes.iter().filter_map(|(name, value)| Some(format!("{name}={}", quoted(value.as_deref()?))));
    let joined = given.collect::<Vec<_>>().join("&");
    if joined.is_empty() { joined } else { format!("?{joined}") }
}

/// Why the admin API refused; `None`: this is none of its answers.
fn complaint(body: &Value) -> Option<String> {
    let mut text = body["error"].as_str()?.to_owned();
    for line in body["lines"].as_array().into_iter().flatten() {
        let column =
            line["column"].as_str().filter(|it| !it.is_empty()).map(|it| format!(", {it}")).unwrap_or_default();
        text.push_str(&format!("\n  line {}{column}: {}", line["line"], line["error"].as_str().unwrap_or_default()));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_serials_survive_the_query() {
        assert_eq!(query(&[("serial", Some("a b&c/é".into())), ("entity", None)]), "?serial=a%20b%26c%2F%C3%A9");
        assert_eq!(query(&[("serial", None)]), "");
    }

    #[test]
    fn bad_lines_are_listed_below_the_complaint() {
        let body =
            serde_json::json!({ "error": "nothing", "lines": [{ "line": 3, "column": "serial", "error": "empty" }] });
        assert_eq!(complaint(&body).as_deref(), Some("nothing\n  line 3, serial: empty"));
        assert_eq!(complaint(&serde_json::json!(["ERROR", "of the agents' API"])), None);
    }

    #[test]
    fn a_server_is_named_with_its_scheme() {
        assert_eq!(base_named("HTTP://h:1/").unwrap(), "HTTP://h:1");
        for bare in ["127.0.0.1:8081", "h", "é", ""] {
            assert!(base_named(bare).unwrap_err().0.contains("lacks http:// or https://"), "{bare}");
        }
    }
}
