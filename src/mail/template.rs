//! The words of an invitation: templates in Jinja's language, built in or given by the operator. Everything is escaped in HTML.

use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde::Serialize;

use crate::{config, mdm::help_desk::HelpDesk};

const TEXT: &str = include_str!("templates/invitation.txt");
const HTML: &str = include_str!("templates/invitation.html");
/// Bytes of a template that an operator gives.
const TEMPLATE_BYTES_MAX: u64 = 256 * 1024;

/// What templates may show.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Words {
    /// Subject of the mail.
    pub subject: String,
    /// Who is invited.
    pub email: String,
    /// First name of the invited person, if known.
    pub firstname: String,
    /// Last name of the invited person, if known.
    pub lastname: String,
    /// Who invites, if known.
    pub invited_by: String,
    /// Whom to ask.
    pub help_desk: HelpDesk,
    /// The address of the agent where it may be a link; else "".
    pub download_link: String,
    /// The web site of the help desk where it may be a link; else "".
    pub website_link: String,
    /// What the QR code holds.
    pub deeplink: String,
    /// Where the deeplink can be opened from a mail.
    pub page_url: String,
    /// End of the invitation.
    pub expires_at: String,
    /// Content id of the picture of the QR code.
    pub qr_cid: String,
}

/// The two templates of an invitation.
#[derive(Debug)]
pub struct Templates {
    environment: Environment<'static>,
}

impl Templates {
    /// Reads the operator's files where there are any, and tries them out.
    ///
    /// # Errors
    /// A file cannot be read or is no template: one sentence.
    pub fn load(settings: &config::Mail) -> Result<Templates, String> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|name| match name {
            "html" => AutoEscape::Html,
            _ => AutoEscape::None,
        });
        for (name, file, built_in) in
            [("text", &settings.text_template_file, TEXT), ("html", &settings.html_template_file, HTML)]
        {
            let source = if file.is_empty() { built_in.to_owned() } else { read(file)? };
            environment
                .add_template_owned(name, source)
                .map_err(|e| format!("mail.{name}_template_file {file}: {e}"))?;
        }
        let templates = Self { environment };
        templates.render(&Words::default()).map_err(|e| format!("a template of [mail] cannot be used: {e}"))?;
        Ok(templates)
    }

    /// Text and HTML.
    ///
    /// # Errors
    /// The template asks for something that is not there.
    pub fn render(&self, words: &Words) -> Result<(String, String), String> {
        let words = minijinja::Value::from(minijinja::value::Serde(words));
        let render = |name| {
            let template = self.environment.get_template(name).map_err(|e| e.to_string())?;
            template.render(words.clone()).map_err(|e| format!("{e:#}"))
        };
        Ok((render("text")?, render("html")?))
    }
}

fn read(file: &str) -> Result<String, String> {
    let complain = |e: std::io::Error| format!("cannot read {file}: {e}");
    let length = std::fs::metadata(file).map_err(complain)?.len();
    if length > TEMPLATE_BYTES_MAX {
        return Err(format!("{file} has more than {TEMPLATE_BYTES_MAX} bytes"));
    }
    std::fs::read_to_string(file).map_err(complain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> Words {
        Words {
            subject: "Welcome".into(),
            firstname: "<Ada> & \"Co\"".into(),
            invited_by: "Grace".into(),
            help_desk: HelpDesk {
                name: "IT".into(),
                website: "javascript:alert(1)".into(),
                download_url: "https://example.com/app?a=1&b=2".into(),
                ..HelpDesk::default()
            },
            download_link: "https://example.com/app?a=1&b=2".into(),
            deeplink: "flyve://register?data=abc".into(),
            page_url: "https://mdm.example.com/deeplink/?data=abc".into(),
            expires_at: "2026-11-30 08:00:00 UTC".into(),
            qr_cid: "qr".into(),
            ..Words::default()
        }
    }

    #[test]
    fn html_is_escaped_and_text_is_not() {
        let (text, html) = Templates::load(&config::Mail::default()).unwrap().render(&words()).unwrap();
        assert!(text.contains("Hello <Ada> & \"Co\","), "{text}");
        assert!(html.contains("Hello &lt;Ada&gt; &amp; &quot;Co&quot;,"), "{html}");
        assert!(html.contains("?a=1&amp;b=2\""), "{html}");
        assert!(html.contains("src=\"cid:qr\""), "{html}");
        assert!(!html.contains("href=\"javascript"), "{html}");
    }

    #[test]
    fn the_text_is_as_people_read_it() {
        let (text, _) = Templates::load(&config::Mail::default()).unwrap().render(&words()).unwrap();
        insta::assert_snapshot!(text);
    }

    #[test]
    fn bad_templates_are_refused_at_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("text.txt");
        let settings =
            config::Mail { text_template_file: file.to_str().unwrap().to_owned(), ..config::Mail::default() };
        let check = |content: &str, expected: &str| {
            std::fs::write(&file, content).unwrap();
            let error = Templates::load(&settings).unwrap_err();
            assert!(error.contains(expected), "{content}: {error}");
        };
        check("{% if %}", "mail.text_template_file");
        check("{{ nobody }}", "undefined");
        check(&"x".repeat(300_000), "more than");
        std::fs::write(&file, "Dear {{ firstname }}: {{ deeplink }}").unwrap();
        let (text, _) = Templates::load(&settings).unwrap().render(&words()).unwrap();
        assert_eq!(text, "Dear <Ada> & \"Co\": flyve://register?data=abc");
    }
}
