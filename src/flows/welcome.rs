//! What the holder of a deeplink finds behind it. Only what is ours is shown: the link proves who asks, and everything on the page comes
//! from our own rows, so that nobody can put words of his own on it.

use super::{Flows, invite::InvitationView};
use crate::{
    mdm::{
        deeplink::{Deeplink, PREFIX_DEFAULT},
        help_desk::HelpDesk,
    },
    store::{StoreError, invitation as sql},
};

/// What is behind a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behind {
    /// It is no link of ours, or damaged.
    NoLink,
    /// Nobody was invited with it, or not any more.
    Nobody,
    /// The holder of both tokens may know how his invitation stands.
    Invitation(Box<Welcome>),
}

/// What the invited person is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// `pending`, `done` or `expired`.
    pub status: &'static str,
    /// Whom to ask.
    pub help_desk: HelpDesk,
    /// What the QR code holds.
    pub deeplink: String,
    /// What opens the agent on this very device.
    pub app_link: String,
    /// End of the invitation.
    pub expires_at: String,
}

impl Flows {
    /// Looks behind the `data` of a link.
    ///
    /// # Errors
    /// The database failed.
    pub async fn behind(&self, data: &str) -> Result<Behind, StoreError> {
        let Some(link) = Deeplink::parse(&format!("{PREFIX_DEFAULT}?data={data}")) else { return Ok(Behind::NoLink) };
        let now = self.clock.now();
        let hashes = (self.secret_key.hash(&link.invitation_token), self.secret_key.hash(&link.user_token));
        let Some(row) = self.store.row(sql::of_holder(&hashes.0, &hashes.1)).await? else { return Ok(Behind::Nobody) };
        let view = sql::view(&row, now);
        let help_desk = self.help_desk(view.entity).await?;
        // The tokens are right; the rest of the link may have been changed on its way.
        let ours = Deeplink {
            url: self.config.http.public_url.clone(),
            user_token: link.user_token,
            invitation_token: link.invitation_token,
            support_name: help_desk.name.clone(),
            support_phone: help_desk.phone.clone(),
            support_website: help_desk.website.clone(),
            support_email: help_desk.email.clone(),
        };
        Ok(Behind::Invitation(Box::new(Welcome {
            status: view.status,
            deeplink: ours.encode(&self.config.enrollment.deeplink_prefix),
            app_link: ours.encode(PREFIX_DEFAULT),
            expires_at: format!("{} UTC", view.until.glpi()),
            help_desk,
        })))
    }

    /// Where the link can be opened from a mail: the configured page, or our own. Mail programs do not open `flyve://`.
    pub(super) fn page_url(&self, view: &InvitationView, help_desk: &HelpDesk) -> String {
        let prefix = &self.config.enrollment.deeplink_prefix;
        let link = self.link(view.id, view.at, help_desk);
        if prefix.starts_with("https://") || prefix.starts_with("http://") {
            link.encode(prefix)
        } else {
            link.encode(&format!("{}/deeplink/", self.config.http.public_url))
        }
    }

    /// The paths of the page on this server: `/deeplink`, and what the configured prefix leads to when it points here.
    pub fn page_paths(&self) -> Vec<String> {
        page_paths(&self.config.http.public_url, &self.config.enrollment.deeplink_prefix)
    }
}

fn page_paths(public_url: &str, prefix: &str) -> Vec<String> {
    let mut paths: Vec<String> =
        ["", "/api", "/apirest.php", "/glpi/apirest.php"].iter().map(|base| format!("{base}/deeplink")).collect();
    let path = origin_and_path(public_url)
        .zip(origin_and_path(prefix))
        .filter(|((here, _), (there, _))| here == there)
        .map(|(_, (_, path))| path.trim_end_matches('/').to_owned());
    let is_plain = |it: &String| it.bytes().all(|c| c.is_ascii_alphanumeric() || b"/-._~".contains(&c));
    if let Some(path) = path.filter(|it| !it.is_empty() && is_plain(it) && !paths.contains(it)) {
        paths.push(path);
    }
    paths
}

/// `https://host:port` in lower case and the path behind it, without its query.
fn origin_and_path(url: &str) -> Option<(String, &str)> {
    let (scheme, rest) = url.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"))?;
    let rest = rest.split(['?', '#']).next()?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    Some((format!("{scheme}://{}", host.to_ascii_lowercase()), path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_where_the_prefix_leads_to() {
        let own = |prefix: &str| page_paths("https://mdm.example/glpi/apirest.php", prefix).split_off(4);
        assert_eq!(own("https://MDM.example/welcome/"), ["/welcome"]);
        assert_eq!(own("https://mdm.example/a/b/?lang=en"), ["/a/b"]);
        for elsewhere in ["", "flyve://register", "https://other.example/x/", "https://mdm.example/deeplink/"] {
            assert!(own(elsewhere).is_empty(), "{elsewhere}");
        }
        assert!(own("https://mdm.example/").is_empty(), "the root is the agents' API");
        assert!(own("https://mdm.example/{id}/").is_empty(), "no pattern of routes");
    }
}
