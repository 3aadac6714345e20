//! `mdmq invite` and `mdmq invitation`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Done, Failure, Place,
    api::{Api, query},
    show,
    tenants::{list, one},
};
use crate::qr;

/// Whom to invite, and how.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("whom").required(true).args(["email", "csv"]))]
pub struct Invite {
    /// Whom
    #[arg(long, value_name = "A@B")]
    email: Option<String>,
    /// Many at once: a file whose first line names the columns email and, if you like, entity, firstname, lastname, phone
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Where the device will live [default: 0, the root]
    #[arg(long, value_name = "N")]
    entity: Option<i64>,
    /// First name
    #[arg(long, conflicts_with = "csv")]
    firstname: Option<String>,
    /// Last name
    #[arg(long, conflicts_with = "csv")]
    lastname: Option<String>,
    /// Phone number
    #[arg(long, conflicts_with = "csv")]
    phone: Option<String>,
    /// Who invites, as the invited person shall read it
    #[arg(long, value_name = "NAME")]
    invited_by: Option<String>,
    /// Only print the invitation, also where mail is on
    #[arg(long)]
    no_mail: bool,
}

#[derive(Debug, Subcommand)]
pub enum Invitation {
    /// Invitations, latest first
    #[command(after_help = "Example:\n  mdmq invitation list --status pending")]
    List {
        /// Only into this tenant
        #[arg(long, value_name = "N")]
        entity: Option<i64>,
        /// Only of this person
        #[arg(long, value_name = "A@B")]
        email: Option<String>,
        /// Only in this state
        #[arg(long, value_parser = ["pending", "done", "expired"])]
        status: Option<String>,
    },
    /// One invitation with its link and its log
    Show {
        /// Its number
        id: i64,
    },
    /// Send the mail of an invitation again: same token, same end
    Resend {
        /// Its number
        id: i64,
    },
    /// Take an invitation back
    Remove {
        /// Its number
        id: i64,
    },
}

pub async fn invite(wish: Invite, place: &Place) -> Done {
    let api = Api::of(place)?;
    if let Some(file) = &wish.csv {
        return invite_many(&api, file, &wish, place).await;
    }
    let mut body = json!({ "email": wish.email, "entity": wish.entity, "mail": !wish.no_mail });
    let given = [
        ("firstname", wish.firstname),
        ("lastname", wish.lastname),
        ("phone", wish.phone),
        ("invited_by", wish.invited_by),
    ];
    for (name, value) in given.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        body[name] = value.into();
    }
    let answer = api.post("/invitations", &body).await?;
    if place.json {
        let told = ["invitation_token", "user_token", "deeplink", "expires_at"];
        show::json(&told.iter().map(|it| ((*it).to_owned(), answer[*it].clone())).collect());
        return Ok(());
    }
    let text = |member: &str| answer[member].as_str().unwrap_or_default().to_owned();
    let (link, email) = (text("deeplink"), wish.email.unwrap_or_default());
    let mail = if text("mail") == "queued" { format!("a mail to {email} is on its way\n") } else { String::new() };
    show::say(&format!(
        "{}\n\nScan the code with the agent on the device of {email}, or open this link there:\n\n  {link}\n\n\
         invitation        {}\ninvitation token  {}\nvalid until       {}\n{mail}",
        qr::terminal(&link).unwrap_or_else(|problem| format!("no QR code: {problem}")),
        answer["invitation_id"],
        text("invitation_token"),
        text("expires_at")
    ));
    Ok(())
}

async fn invite_many(api: &Api, file: &PathBuf, wish: &Invite, place: &Place) -> Done {
    let csv = std::fs::read(file).map_err(|e| Failure(format!("cannot read {}: {e}", file.display())))?;
    let wishes = query(&[
        ("entity", wish.entity.map(|it| it.to_string())),
        ("mail", wish.no_mail.then(|| "false".to_owned())),
        ("invited_by", wish.invited_by.clone()),
    ]);
    let answer = api.csv(&format!("/invitations/csv{wishes}"), csv).await?;
    let (invited, failed) = (answer["invited"].as_u64().unwrap_or(0), answer["failed"].as_u64().unwrap_or(0));
    if place.json {
        show::json(&answer);
    } else {
        for line in answer["lines"].as_array().map(Vec::as_slice).unwrap_or_default() {
            show::say(&outcome(line));
        }
        show::say(&format!("{invited} invited, {failed} failed\n"));
    }
    if failed == 0 { Ok(()) } else { Err(Failure(format!("{failed} of {} lines failed", invited + failed))) }
}

fn outcome(line: &Value) -> String {
    let (number, email) = (&line["line"], show::cell(&line["email"]));
    match line["error"].as_str() {
        Some(why) => format!("line {number}  {email}  failed: {}\n", show::cell(&why.into())),
        None => format!("line {number}  {email}  {}\n", show::cell(&line["deeplink"])),
    }
}

pub async fn invitation(verb: Invitation, place: &Place) -> Done {
    let api = Api::of(place)?;
    match verb {
        Invitation::List { entity, email, status } => {
            let wishes = [("entity", entity.map(|it| it.to_string())), ("email", email), ("status", status)];
            let all = api.get(&format!("/invitations{}", query(&wishes))).await?;
            let columns = [
                ("id", "ID"),
                ("email", "E-MAIL"),
                ("entity", "ENTITY"),
                ("status", "STATUS"),
                ("expires_at", "VALID UNTIL"),
                ("mail", "MAIL"),
                ("mail_error", "TROUBLE"),
            ];
            list(&all, &columns, "no invitations; invite somebody with: mdmq invite --email A@B", place)
        }
        Invitation::Show { id } => {
            let mut shown = api.get(&format!("/invitations/{id}")).await?;
            if !place.json {
                let log = shown["log"].take();
                one(&shown, place)?;
                return list(&log, &[("at", "WHEN"), ("event", "WHAT HAPPENED")], "nothing happened to it yet", place);
            }
            one(&shown, place)
        }
        Invitation::Resend { id } => one(&api.post(&format!("/invitations/{id}/resend"), &json!({})).await?, place),
        Invitation::Remove { id } => one(&api.delete(&format!("/invitations/{id}")).await?, place),
    }
}
