//! Mail out of the server: the words of an invitation, and the SMTP client that hands it over. Keeps no queue; that is rows.

use std::time::Duration;

use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{
        Attachment, Mailbox, MultiPart, SinglePart,
        header::{ContentType, HeaderName, HeaderValue},
    },
    transport::smtp::{
        PoolConfig,
        authentication::Credentials,
        client::{Certificate, Tls, TlsParameters},
    },
};

use crate::config::{self, MailTls};

pub mod template;

pub use template::Words;

/// The picture's name inside the mail.
const QR_CID: &str = "invitation-qr";
/// Seconds that an unused connection to the SMTP server is kept.
const IDLE_S: u64 = 30;
/// Characters of the reason of a failure that are kept.
const REASON_CHARS_MAX: usize = 500;

/// An invitation, ready to be written.
#[derive(Clone)]
pub struct Letter {
    /// What the templates show.
    pub words: Words,
    /// The QR code of the deeplink.
    pub qr_png: Vec<u8>,
}

impl std::fmt::Debug for Letter {
    /// The link in it is the right to enroll.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Letter").field("link", &format_args!("***")).finish_non_exhaustive()
    }
}

/// Why a letter was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotSent {
    /// A sentence for the administrator.
    pub reason: String,
    /// Whether trying again is in vain.
    pub is_final: bool,
}

/// Whether this is an address that mail can be sent to. Nothing with a line break is.
pub fn is_address(text: &str) -> bool {
    text.parse::<Address>().is_ok()
}

/// The SMTP client.
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    templates: template::Templates,
    from: Mailbox,
    subject: String,
    timeout: Duration,
}

impl Mailer {
    /// Reads what the settings name; does not connect yet. `None`: mail is off.
    ///
    /// # Errors
    /// A setting or one of the named files is wrong: one sentence.
    pub fn open(settings: &config::Mail) -> Result<Option<Mailer>, String> {
        if !settings.is_on() {
            return Ok(None);
        }
        let from = settings.from.parse().map_err(|e| format!("mail.from \"{}\": {e}", settings.from))?;
        let timeout = Duration::from_secs(settings.timeout_s.into());
        let pool =
            PoolConfig::new().max_size(settings.connections_max.into()).idle_timeout(Duration::from_secs(IDLE_S));
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&settings.smtp_host)
            .port(settings.port())
            .timeout(Some(timeout))
            .tls(tls(settings)?)
            .pool_config(pool);
        if let Some((name, password)) = credentials(&settings.credentials_file)? {
            transport = transport.credentials(Credentials::new(name, password));
        }
        Ok(Some(Mailer {
            transport: transport.build(),
            templates: template::Templates::load(settings)?,
            from,
            subject: settings.subject.clone(),
            timeout,
        }))
    }

    /// Hands one letter to the SMTP server.
    ///
    /// # Errors
    /// It was not taken.
    pub async fn send(&self, letter: Letter) -> Result<(), NotSent> {
        let message = self.message(letter).map_err(|reason| NotSent { reason, is_final: true })?;
        match tokio::time::timeout(self.timeout, self.transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(NotSent { reason: one_line(&error), is_final: is_final(&error) }),
            Err(_) => Err(NotSent { reason: "the SMTP server did not take it in time".into(), is_final: false }),
        }
    }

    /// The header fields are typed values, so that no name and no subject can add a line to them.
    fn message(&self, letter: Letter) -> Result<Message, String> {
        let Letter { mut words, qr_png } = letter;
        words.subject.clone_from(&self.subject);
        words.qr_cid = QR_CID.into();
        let to: Address = words.email.parse().map_err(|e| format!("{}: {e}", words.email))?;
        let name = plain(&format!("{} {}", words.firstname, words.lastname));
        let (text, html) = self.templates.render(&words)?;
        let picture = Attachment::new_inline_with_name(QR_CID.into(), "invitation.png".into())
            .body(qr_png, ContentType::parse("image/png").map_err(|e| e.to_string())?);
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(Some(name).filter(|it| !it.is_empty()), to))
            .subject(plain(&self.subject))
            .message_id(None)
            .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".into()))
            .multipart(
                MultiPart::alternative()
                    .singlepart(SinglePart::plain(text))
                    .multipart(MultiPart::related().singlepart(SinglePart::html(html)).singlepart(picture)),
            )
            .map_err(|e| e.to_string())
    }
}

fn tls(settings: &config::Mail) -> Result<Tls, String> {
    if settings.tls == MailTls::None {
        return Ok(Tls::None);
    }
    let mut parameters = TlsParameters::builder(settings.smtp_host.clone());
    if !settings.ca_file.is_empty() {
        let complain = |e: &dyn std::fmt::Display| format!("mail.ca_file {}: {e}", settings.ca_file);
        let pem = std::fs::read(&settings.ca_file).map_err(|e| complain(&e))?;
        parameters = parameters.add_root_certificate(Certificate::from_pem(&pem).map_err(|e| complain(&e))?);
    }
    let parameters = parameters.build().map_err(|e| format!("cannot prepare TLS for mail: {e}"))?;
    Ok(if settings.tls == MailTls::Tls { Tls::Wrapper(parameters) } else { Tls::Required(parameters) })
}

fn credentials(file: &str) -> Result<Option<(String, String)>, String> {
    if file.is_empty() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(file).map_err(|e| format!("mail.credentials_file {file}: {e}"))?;
    let mut lines = text.lines();
    match (lines.next(), lines.next()) {
        (Some(name), Some(password)) if !name.is_empty() && !password.is_empty() => {
            Ok(Some((name.to_owned(), password.to_owned())))
        }
        _ => Err(format!(
            "mail.credentials_file {file} must hold the user name on one line and the password on the next"
        )),
    }
}

/// A permanent answer about this letter. A refused login (53x) is the operator's mistake, which he may mend while letters wait.
fn is_final(error: &lettre::transport::smtp::Error) -> bool {
    let text = error.status().map(|code| code.to_string()).unwrap_or_default();
    error.is_permanent() && !text.starts_with("53")
}

/// The error with its causes, short and on one line: it is kept in a row.
fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    plain(&text).chars().take(REASON_CHARS_MAX).collect()
}

/// Without line breaks and other control characters.
fn plain(text: &str) -> String {
    let spaced: String = text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::strategy::{Just, Strategy};

    use super::*;

    fn settings() -> config::Mail {
        config::Mail { smtp_host: "localhost".into(), from: "MDM <mdm@example.com>".into(), ..config::Mail::default() }
    }

    fn formatted(words: Words, subject: &str) -> String {
        let mailer = Mailer::open(&config::Mail { subject: subject.into(), ..settings() }).unwrap().unwrap();
        let message = mailer.message(Letter { words, qr_png: vec![1, 2, 3] }).unwrap();
        String::from_utf8(message.formatted()).unwrap()
    }

    #[tokio::test]
    async fn nothing_that_people_enter_adds_a_header() {
        let words = Words {
            email: "ann@example.com".into(),
            firstname: "Ann\r\nBcc: thief@example.com".into(),
            lastname: "\nX: y".into(),
            ..Words::default()
        };
        let mail = formatted(words, "Hi\r\nBcc: thief@example.com");
        let head = mail.split("\r\n\r\n").next().unwrap();
        let names: Vec<&str> = head.split("\r\n").filter(|line| !line.starts_with([' ', '\t'])).collect();
        assert!(!names.iter().any(|line| line.starts_with("Bcc") || line.starts_with("X:")), "{head}");
        assert!(names.iter().any(|line| line.starts_with("Auto-Submitted: auto-generated")), "{head}");
        assert!(head.contains("multipart/alternative"), "{head}");
    }

    fn text() -> impl Strategy<Value = String> {
        let letter = proptest::prop_oneof![Just('\r'), Just('\n'), Just(':'), proptest::char::any()];
        proptest::collection::vec(letter, 0..40).prop_map(String::from_iter)
    }

    proptest::proptest! {
        #[test]
        fn no_text_whatever_changes_which_headers_there_are(
            first in text(), last in text(), by in text(), subject in text()
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let mail = runtime.block_on(async {
                let words = Words {
                    email: "ann@example.com".into(),
                    firstname: first.clone(),
                    lastname: last.clone(),
                    invited_by: by.clone(),
                    ..Words::default()
                };
                formatted(words, &subject)
            });
            let head = mail.split("\r\n\r\n").next().unwrap().replace("\r\n ", " ").replace("\r\n\t", " ");
            let mut names: Vec<&str> = head.split("\r\n").map(|line| line.split(':').next().unwrap()).collect();
            names.sort_unstable();
            let expected =
                ["Auto-Submitted", "Content-Type", "Date", "From", "MIME-Version", "Message-ID", "Subject", "To"];
            proptest::prop_assert_eq!(names, expected);
        }
    }

    #[test]
    fn addresses_with_line_breaks_or_without_a_host_are_none() {
        for (text, is) in [
            ("ann@example.com", true),
            ("ann.o'hara+x@example.com", true),
            ("ann", false),
            ("ann@example.com\r\nBcc: x@y", false),
            ("a b@example.com", false),
            ("<ann@example.com>", false),
        ] {
            assert_eq!(is_address(text), is, "{text}");
        }
    }

    #[tokio::test]
    async fn settings_that_cannot_work_are_one_sentence() {
        assert!(Mailer::open(&config::Mail::default()).unwrap().is_none());
        let check = |settings: config::Mail, expected: &str| {
            let error = Mailer::open(&settings).map(|_| ()).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check(config::Mail { from: "nobody".into(), ..settings() }, "mail.from");
        check(config::Mail { ca_file: "no/such.pem".into(), ..settings() }, "mail.ca_file");
        check(config::Mail { credentials_file: "no/such".into(), ..settings() }, "mail.credentials_file");
        check(config::Mail { html_template_file: "no/such".into(), ..settings() }, "no/such");
    }
}
