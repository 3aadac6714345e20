//! Settings of mail.

use serde::{Deserialize, Serialize};

/// Delivery of invitations by mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mail {
    /// The SMTP server; "" is off: invitations are only printed.
    pub smtp_host: String,
    /// Its port; 0 is 587 for `starttls`, 465 for `tls`, 25 for `none`.
    pub smtp_port: u16,
    /// `starttls`, `tls`, or `none` (on this machine only).
    pub tls: MailTls,
    /// PEM file with certificate authorities to trust besides those of the system.
    pub ca_file: String,
    /// File with the user name on its first line and the password on its second; "" is no login.
    pub credentials_file: String,
    /// Sender, `mdm@example.com` or `Example MDM <mdm@example.com>`.
    pub from: String,
    /// Subject of invitations.
    pub subject: String,
    /// Template of the text; "" is the built-in one.
    pub text_template_file: String,
    /// Template of the HTML; "" is the built-in one.
    pub html_template_file: String,
    /// Seconds that one delivery may take.
    pub timeout_s: u32,
    /// Deliveries at once.
    pub connections_max: u16,
    /// Attempts before a mail is given up.
    pub attempts_max: u16,
    /// Seconds before the second attempt; each further pause is twice as long, six hours at most.
    pub retry_after_s: u32,
}

/// How mail travels to the SMTP server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailTls {
    /// In clear first, then TLS or nothing.
    Starttls,
    /// TLS from the start.
    Tls,
    /// In clear; only to this machine.
    None,
}

impl Mail {
    /// Whether mails are sent at all.
    pub fn is_on(&self) -> bool {
        !self.smtp_host.is_empty()
    }

    /// The port that is meant.
    pub fn port(&self) -> u16 {
        match (self.smtp_port, self.tls) {
            (0, MailTls::Starttls) => 587,
            (0, MailTls::Tls) => 465,
            (0, MailTls::None) => 25,
            (port, _) => port,
        }
    }

    /// Why these settings cannot work.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let is_near = matches!(self.smtp_host.as_str(), "localhost" | "::1") || self.smtp_host.starts_with("127.");
        if !self.is_on() {
            Ok(())
        } else if self.from.is_empty() {
            Err("mail.from must name the sender when mail.smtp_host is set")
        } else if self.tls == MailTls::None && !is_near {
            Err("mail.tls = \"none\" would send passwords and invitations in clear; it is for this machine only")
        } else if self.timeout_s == 0 || self.connections_max == 0 || self.attempts_max == 0 {
            Err("mail.timeout_s, mail.connections_max and mail.attempts_max must be at least 1")
        } else {
            Ok(())
        }
    }
}

impl Default for Mail {
    fn default() -> Self {
        Self {
            smtp_host: String::new(),
            smtp_port: 0,
            tls: MailTls::Starttls,
            ca_file: String::new(),
            credentials_file: String::new(),
            from: String::new(),
            subject: "You have been invited to join Flyve MDM".into(),
            text_template_file: String::new(),
            html_template_file: String::new(),
            timeout_s: 60,
            connections_max: 4,
            attempts_max: 12,
            retry_after_s: 60,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Mail), expected: &str) {
        let mut mail = Mail { smtp_host: "mail.example.com".into(), from: "mdm@example.com".into(), ..Mail::default() };
        change(&mut mail);
        let answer = mail.check().err().unwrap_or_default();
        assert!(answer.contains(expected) && answer.is_empty() == expected.is_empty(), "{answer}");
    }

    #[test]
    fn settings_that_cannot_work_are_named() {
        check(|_| {}, "");
        check(|it| it.from.clear(), "mail.from");
        check(|it| it.tls = MailTls::None, "mail.tls");
        check(|it| it.attempts_max = 0, "mail.attempts_max");
        check(|it| *it = Mail { tls: MailTls::None, smtp_host: "127.0.0.1".into(), ..it.clone() }, "");
    }

    #[test]
    fn the_port_follows_from_how_mail_travels() {
        for (tls, port) in [(MailTls::Starttls, 587), (MailTls::Tls, 465), (MailTls::None, 25)] {
            assert_eq!(Mail { tls, ..Mail::default() }.port(), port);
        }
        assert_eq!(Mail { smtp_port: 2525, ..Mail::default() }.port(), 2525);
    }
}
