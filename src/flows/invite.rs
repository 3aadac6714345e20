//! Invitations: made, shown, sent again and taken back. Their tokens are derived from the server's key, so that a second mail
//! carries the same ones although only their hashes are stored.

use std::{fmt, time::Duration};

use serde::Serialize;

use super::{Flows, SecretKey, administer::is_email};
pub use crate::store::{
    administer::{Answer, Refused},
    invitation::{InvitationFilter, InvitationView},
};
use crate::{
    clock::Timestamp,
    ids::{EntityId, InvitationId},
    mdm::{
        audit::{Action, Deed, Subject},
        deeplink::Deeplink,
        help_desk::HelpDesk,
    },
    store::{
        StoreError, audit,
        db::Tx,
        invitation::{self as sql, NewInvitation},
    },
};

/// Characters of a name, a phone number or an address that administrators give.
pub const FIELD_CHARS_MAX: usize = 255;

/// Whom an administrator wants to invite, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// Address.
    pub email: String,
    /// Where the device will live.
    pub entity: i64,
    /// First name; empty: as it was.
    pub firstname: String,
    /// Last name; empty: as it was.
    pub lastname: String,
    /// Phone number; empty: as it was.
    pub phone: String,
    /// Who invites, as the invited person shall read it.
    pub invited_by: String,
    /// Whether a mail is sent, where mail is on.
    pub is_mailed: bool,
}

impl Wish {
    /// Somebody, into the root entity, by mail where mail is on.
    pub fn of(email: &str) -> Wish {
        Wish { email: email.to_owned(), is_mailed: true, ..Wish::default() }
    }
}

/// What the invited person gets.
#[derive(Clone, Serialize)]
pub struct Invited {
    /// Key of the invitation.
    pub invitation_id: InvitationId,
    /// Enrolls one device.
    pub invitation_token: String,
    /// Opens a session for the person.
    pub user_token: String,
    /// Both, with the address of the server, for the device.
    pub deeplink: String,
    /// End of its life, RFC 3339.
    pub expires_at: String,
    /// `queued` when a mail is on its way, `none` when nothing is sent.
    pub mail: &'static str,
}

impl fmt::Debug for Invited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invited").field("id", &self.invitation_id).field("tokens", &format_args!("***")).finish()
    }
}

/// One invitation with everything an administrator may see.
#[derive(Clone, Serialize)]
pub struct InvitationDetails {
    /// What lists show.
    #[serde(flatten)]
    pub view: InvitationView,
    /// The link, while it can still be used and its tokens are ours.
    pub deeplink: Option<String>,
    /// What happened to it, oldest first.
    pub log: Vec<LogLine>,
}

impl fmt::Debug for InvitationDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InvitationDetails").field("view", &self.view).field("deeplink", &format_args!("***")).finish()
    }
}

/// One line of the log of an invitation.
#[derive(Debug, Clone, Serialize)]
pub struct LogLine {
    /// RFC 3339.
    pub at: String,
    /// What.
    pub event: String,
}

impl Flows {
    /// Invites a person to enroll one device.
    ///
    /// # Errors
    /// The database failed.
    pub async fn invite(&self, wish: Wish) -> Answer<Invited> {
        let new = match self.read_wish(wish) {
            Ok(new) => new,
            Err(refused) => return Ok(Err(refused)),
        };
        let (entity, is_mailed, key) = (new.entity, new.is_mailed, self.secret_key.clone());
        let email = new.email.clone();
        let story = self.store.write(move |tx| {
            Box::pin(async move {
                let made = make(tx, &key, new).await?;
                if let Ok(made) = &made {
                    let deed = Deed::to(Action::InvitationAdd, Subject::Invitation, made.id).with("email", email);
                    audit::append(tx, deed).await?;
                }
                Ok(made)
            })
        });
        let made = story.await?;
        let made = match made {
            Ok(made) => made,
            Err(refused) => return Ok(Err(refused)),
        };
        if is_mailed {
            self.mail_waits.notify_one();
        }
        let help_desk = self.help_desk(entity).await?;
        Ok(Ok(self.invited(&made, &help_desk, is_mailed)))
    }

    /// Invitations, the latest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn invitations(&self, filter: &InvitationFilter) -> Result<Vec<InvitationView>, StoreError> {
        let now = self.clock.now();
        Ok(self.store.rows(sql::matching(filter, now)).await?.iter().map(|row| sql::view(row, now)).collect())
    }

    /// One invitation.
    ///
    /// # Errors
    /// The database failed.
    pub async fn invitation(&self, id: InvitationId) -> Answer<InvitationDetails> {
        let filter = InvitationFilter { id: Some(id), ..InvitationFilter::default() };
        let Some(view) = self.invitations(&filter).await?.pop() else { return Ok(Err(absent(id))) };
        let log = self.store.rows(sql::log_of(id)).await?;
        let line = |row: &crate::store::db::Row| LogLine {
            at: Timestamp(row.int("created_at")).rfc3339(),
            event: row.text("event"),
        };
        let deeplink = if view.status == "pending" && self.tokens_are_ours(&view) {
            Some(self.deeplink(&view, &self.help_desk(view.entity).await?))
        } else {
            None
        };
        Ok(Ok(InvitationDetails { deeplink, log: log.iter().map(line).collect(), view }))
    }

    /// Sends the mail of an invitation again: the same tokens, the same end.
    ///
    /// # Errors
    /// The database failed.
    pub async fn resend_invitation(&self, id: InvitationId) -> Answer<()> {
        let filter = InvitationFilter { id: Some(id), ..InvitationFilter::default() };
        let Some(view) = self.invitations(&filter).await?.pop() else { return Ok(Err(absent(id))) };
        let conflict = |why: String| Ok(Err(Refused::Conflict(why)));
        if !self.config.mail.is_on() {
            return conflict("mail is off; set mail.smtp_host in the configuration".into());
        }
        if view.status != "pending" {
            let what = if view.status == "done" { "was used" } else { "ran out" };
            return conflict(format!("invitation {id} {what}; invite {} again", view.email));
        }
        if !self.tokens_are_ours(&view) {
            return conflict(format!(
                "invitation {id} was made elsewhere and its token is not known here; invite again"
            ));
        }
        let now = self.clock.now();
        let deed = Deed::to(Action::InvitationResend, Subject::Invitation, id).with("email", view.email);
        let story = self.store.write(move |tx| {
            Box::pin(async move {
                sql::queue_mail(tx, id, now).await?;
                audit::append(tx, deed).await
            })
        });
        story.await?;
        self.mail_waits.notify_one();
        Ok(Ok(()))
    }

    /// Takes an invitation back, with its log.
    ///
    /// # Errors
    /// The database failed.
    pub async fn remove_invitation(&self, id: InvitationId) -> Answer<()> {
        let filter = InvitationFilter { id: Some(id), ..InvitationFilter::default() };
        let Some(view) = self.invitations(&filter).await?.pop() else { return Ok(Err(absent(id))) };
        let user_hash = self.secret_key.hash(&self.secret_key.user_token(id, view.at));
        let deed = Deed::to(Action::InvitationRemove, Subject::Invitation, id);
        let deed = deed.in_entity(view.entity).with("email", view.email);
        let story = self.store.write(move |tx| {
            Box::pin(async move {
                let is_removed = sql::remove(tx, id, &user_hash).await?;
                if is_removed {
                    audit::append(tx, deed).await?;
                }
                Ok(is_removed)
            })
        });
        let removed = story.await?;
        Ok(if removed { Ok(()) } else { Err(absent(id)) })
    }

    /// The link that carries these tokens.
    pub(super) fn link(&self, id: InvitationId, at: Timestamp, help_desk: &HelpDesk) -> Deeplink {
        Deeplink {
            url: self.config.http.public_url.clone(),
            user_token: self.secret_key.user_token(id, at),
            invitation_token: self.secret_key.invitation_token(id, at),
            support_name: help_desk.name.clone(),
            support_phone: help_desk.phone.clone(),
            support_website: help_desk.website.clone(),
            support_email: help_desk.email.clone(),
        }
    }

    /// The same as text, as the configuration wants it.
    pub(super) fn deeplink(&self, view: &InvitationView, help_desk: &HelpDesk) -> String {
        self.link(view.id, view.at, help_desk).encode(&self.config.enrollment.deeplink_prefix)
    }

    /// Whether the tokens of this invitation can be derived again: it was made here, and under the present key.
    pub(super) fn tokens_are_ours(&self, view: &InvitationView) -> bool {
        self.secret_key.hash(&self.secret_key.invitation_token(view.id, view.at)) == view.token_hash
    }

    /// Checks a wish as far as that is possible without the database.
    pub(super) fn read_wish(&self, wish: Wish) -> Result<NewInvitation, Refused> {
        let email = wish.email.trim().to_lowercase();
        if !is_email(&email) {
            return Err(Refused::Invalid(format!("\"{}\" is not an e-mail address", email.escape_debug())));
        }
        let life = Duration::from_secs(self.config.enrollment.invitation_life_s.into());
        Ok(NewInvitation {
            email,
            firstname: field("firstname", &wish.firstname)?,
            lastname: field("lastname", &wish.lastname)?,
            phone: field("phone", &wish.phone)?,
            entity: EntityId(wish.entity),
            invited_by: field("invited_by", &wish.invited_by)?,
            is_mailed: wish.is_mailed && self.config.mail.is_on(),
            at: self.clock.now(),
            life_ms: i64::try_from(life.as_millis()).unwrap_or(i64::MAX),
        })
    }

    pub(super) fn invited(&self, made: &Made, help_desk: &HelpDesk, is_mailed: bool) -> Invited {
        let link = self.link(made.id, made.at, help_desk);
        Invited {
            invitation_id: made.id,
            deeplink: link.encode(&self.config.enrollment.deeplink_prefix),
            invitation_token: link.invitation_token,
            user_token: link.user_token,
            expires_at: made.expires_at.rfc3339(),
            mail: if is_mailed { "queued" } else { "none" },
        }
    }
}

/// A written invitation.
pub(super) struct Made {
    pub(super) id: InvitationId,
    pub(super) at: Timestamp,
    pub(super) expires_at: Timestamp,
}

/// The whole story inside one transaction.
pub(super) async fn make(
    tx: &mut Tx,
    key: &SecretKey,
    new: NewInvitation,
) -> Result<Result<Made, Refused>, StoreError> {
    let unsealed = match sql::add(tx, new).await? {
        Ok(unsealed) => unsealed,
        Err(refused) => return Ok(Err(refused)),
    };
    let (id, at) = (unsealed.id, unsealed.at);
    let invitation_hash = key.hash(&key.invitation_token(id, at));
    let user_hash = key.hash(&key.user_token(id, at));
    sql::seal(tx, unsealed, &invitation_hash, &user_hash).await?;
    Ok(Ok(Made { id, at, expires_at: unsealed.expires_at }))
}

fn absent(id: InvitationId) -> Refused {
    Refused::Absent(format!("there is no invitation {id}"))
}

fn field(name: &str, text: &str) -> Result<String, Refused> {
    let text = text.trim();
    if text.chars().count() > FIELD_CHARS_MAX || text.chars().any(char::is_control) {
        let why = format!("{name} has at most {FIELD_CHARS_MAX} characters and no control characters");
        return Err(Refused::Invalid(why));
    }
    Ok(text.to_owned())
}
