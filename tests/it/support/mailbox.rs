//! An SMTP server for the tests: it takes mails, or refuses them as it was told to. Python's own parser reads what it took.

use std::{
    collections::VecDeque,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use base64::Engine;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

/// How the server behaves.
#[derive(Debug, Clone, Default)]
pub struct Manners {
    /// The port to listen on; 0 is a free one.
    pub port: u16,
    /// Whether it offers STARTTLS, and takes nothing before.
    pub starttls: bool,
    /// User name and password that it asks for.
    pub login: Option<(String, String)>,
    /// Answers to the next recipients; afterwards all are welcome.
    pub recipients: Vec<&'static str>,
}

/// A running SMTP server on loopback.
pub struct Mailbox {
    pub port: u16,
    state: Arc<State>,
    task: JoinHandle<()>,
    dir: tempfile::TempDir,
}

struct State {
    mails: Mutex<Vec<Vec<u8>>>,
    recipients: Mutex<VecDeque<&'static str>>,
    login: Option<(String, String)>,
    tls: Option<TlsAcceptor>,
}

impl Mailbox {
    /// Opens it.
    pub async fn open(manners: Manners) -> Mailbox {
        let dir = tempfile::tempdir().unwrap();
        let tls = manners.starttls.then(|| TlsAcceptor::from(certificate(&dir.path().join("ca.pem"))));
        let state = Arc::new(State {
            mails: Mutex::default(),
            recipients: Mutex::new(manners.recipients.into()),
            login: manners.login,
            tls,
        });
        let socket = TcpListener::bind(("127.0.0.1", manners.port)).await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let shared = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                let state = shared.clone();
                tokio::spawn(async move { state.serve(stream).await });
            }
        });
        Mailbox { port, state, task, dir }
    }

    /// The authority behind its certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// How many mails came.
    pub fn count(&self) -> usize {
        self.state.mails.lock().unwrap().len()
    }

    /// What the mail with this number says, once it is there.
    pub async fn mail(&self, number: usize) -> Letter {
        super::until("the mail is there", async || self.count() > number).await;
        Letter::read(&self.state.mails.lock().unwrap()[number])
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.task.abort();
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl State {
    async fn serve(&self, stream: tokio::net::TcpStream) {
        let mut io: BufReader<Box<dyn Stream>> = BufReader::new(Box::new(stream));
        let (mut is_secure, mut is_known) = (false, self.login.is_none());
        say(&mut io, "220 mailbox").await;
        loop {
            let mut line = String::new();
            if io.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim_end();
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            match verb.as_str() {
                "EHLO" | "HELO" => {
                    let mut lines = vec!["250-mailbox"];
                    if self.tls.is_some() && !is_secure {
                        lines.push("250-STARTTLS");
                    }
                    if self.login.is_some() {
                        lines.push("250-AUTH PLAIN");
                    }
                    lines.push("250 8BITMIME");
                    say(&mut io, &lines.join("\r\n")).await;
                }
                "STARTTLS" => {
                    say(&mut io, "220 go on").await;
                    let Some(tls) = &self.tls else { return };
                    let Ok(secured) = tls.accept(io.into_inner()).await else { return };
                    io = BufReader::new(Box::new(secured));
                    is_secure = true;
                }
                "AUTH" => {
                    is_known = self.is_login(line);
                    say(&mut io, if is_known { "235 welcome" } else { "535 wrong password" }).await;
                }
                "MAIL" if self.tls.is_some() && !is_secure => say(&mut io, "530 say STARTTLS first").await,
                "MAIL" if !is_known => say(&mut io, "530 log in first").await,
                "RCPT" => {
                    let answer = self.recipients.lock().unwrap().pop_front().unwrap_or("250 ok");
                    say(&mut io, answer).await;
                }
                "DATA" => {
                    say(&mut io, "354 go on").await;
                    let Some(mail) = content(&mut io).await else { return };
                    self.mails.lock().unwrap().push(mail);
                    say(&mut io, "250 taken").await;
                }
                "QUIT" => return say(&mut io, "221 bye").await,
                _ => say(&mut io, "250 ok").await,
            }
        }
    }

    fn is_login(&self, line: &str) -> bool {
        let given = line.split(' ').nth(2).unwrap_or_default();
        let decoded = base64::engine::general_purpose::STANDARD.decode(given).unwrap_or_default();
        self.login.as_ref().is_some_and(|(name, word)| decoded == format!("\0{name}\0{word}").into_bytes())
    }
}

async fn say(io: &mut BufReader<Box<dyn Stream>>, line: &str) {
    // A client that went away is not the server's business.
    let _ = io.get_mut().write_all(format!("{line}\r\n").as_bytes()).await;
    let _ = io.get_mut().flush().await;
}

/// Up to the line with a single dot; doubled dots are one.
async fn content(io: &mut BufReader<Box<dyn Stream>>) -> Option<Vec<u8>> {
    let mut mail = Vec::new();
    loop {
        let mut line = Vec::new();
        if io.read_until(b'\n', &mut line).await.ok()? == 0 {
            return None;
        }
        match line.as_slice() {
            b".\r\n" => return Some(mail),
            [b'.', rest @ ..] => mail.extend_from_slice(rest),
            line => mail.extend_from_slice(line),
        }
    }
}

fn certificate(ca_file: &Path) -> Arc<ServerConfig> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(ca_file, made.cert.pem()).unwrap();
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    Arc::new(config)
}

/// A mail as a mail program sees it.
#[derive(Debug)]
pub struct Letter {
    /// Names in lower case.
    pub headers: Value,
    /// Types of the parts, outermost first.
    pub parts: Vec<String>,
    pub text: String,
    pub html: String,
    /// The picture and its content id.
    pub png: Vec<u8>,
    pub cid: String,
}

const PARSER: &str = r"
import base64, email, json, sys
from email import policy
mail = email.message_from_bytes(sys.stdin.buffer.read(), policy=policy.default)
picture = [part for part in mail.walk() if part.get_content_type() == 'image/png'][0]
json.dump({
    'headers': {name.lower(): str(value) for name, value in mail.items()},
    'parts': [part.get_content_type() for part in mail.walk()],
    'text': mail.get_body(('plain',)).get_content(),
    'html': mail.get_body(('html',)).get_content(),
    'png': base64.b64encode(picture.get_content()).decode(),
    'cid': picture['Content-ID'].strip('<>'),
}, sys.stdout)
";

impl Letter {
    fn read(mail: &[u8]) -> Letter {
        let mut parser = Command::new("python3")
            .args(["-c", PARSER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is installed; ./scripts/test sees to that");
        parser.stdin.take().unwrap().write_all(mail).unwrap();
        let output = parser.wait_with_output().unwrap();
        assert!(output.status.success(), "not a mail: {}", String::from_utf8_lossy(mail));
        let read: Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = |name: &str| read[name].as_str().unwrap().to_owned();
        Letter {
            headers: read["headers"].clone(),
            parts: read["parts"].as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect(),
            text: text("text"),
            // Slashes are escaped, which changes nothing for readers.
            html: text("html").replace("&#x2f;", "/"),
            png: base64::engine::general_purpose::STANDARD.decode(text("png")).unwrap(),
            cid: text("cid"),
        }
    }

    /// What a phone reads in the picture.
    pub fn qr_code(&self) -> String {
        let mut reader = png::Decoder::new(std::io::Cursor::new(&self.png)).read_info().unwrap();
        let mut bits = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bits).unwrap();
        let gray = |x: usize, y: usize| {
            if bits[y * info.line_size + x / 8] >> (7 - x % 8) & 1 == 1 { 255 } else { 0 }
        };
        let (width, height) = (info.width as usize, info.height as usize);
        let mut picture = rqrr::PreparedImage::prepare_from_greyscale(width, height, gray);
        picture.detect_grids()[0].decode().unwrap().1
    }
}
