//! `mdmq certs`: the authority and the server's certificate are files of the data directory, whether a server runs or not;
//! certificates of devices are asked of the running server.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::{
    Done, Place,
    api::{Api, query, quoted},
    ask, show,
    tenants::{list, one},
};
use crate::{
    clock::Clock,
    config::Config,
    datadir::DataDir,
    pki::{Authority, Certificate, describe, server_names},
};

#[derive(Debug, Subcommand)]
pub enum Certs {
    /// What the authority and the server's certificate say, or everything about a certificate of a device
    #[command(after_help = "Examples:\n  mdmq certs show --json\n  mdmq certs show AZERTY")]
    Show {
        /// The number of a certificate, or the serial of a device
        serial: Option<String>,
    },
    /// Certificates of devices, the latest first
    #[command(after_help = "Examples:\n  mdmq certs list --serial AZERTY\n  mdmq certs list --expiring-days 14")]
    List {
        /// Only of devices with this serial
        #[arg(long)]
        serial: Option<String>,
        /// Only in this state
        #[arg(long, value_parser = ["valid", "superseded", "revoked"])]
        state: Option<String>,
        /// Only those that are taken now and end within so many days
        #[arg(long, value_name = "DAYS")]
        expiring_days: Option<u32>,
    },
    /// Revoke a certificate, or all of a device; connections that came in with them close at once
    #[command(
        after_help = "Examples:\n  mdmq certs revoke 4F:1A:…\n  mdmq certs revoke AZERTY --reason key_compromise\n  \
                      mdmq certs revoke --all"
    )]
    Revoke {
        /// The number of the certificate, or the serial of the device
        #[arg(required_unless_present = "all")]
        serial: Option<String>,
        /// Everything that the built-in authority signed for devices, because its key is in other hands
        #[arg(long, conflicts_with = "serial")]
        all: bool,
        /// Why, for the revocation list [default: unspecified, with --all ca_compromise]
        #[arg(long, value_parser = ["unspecified", "key_compromise", "ca_compromise", "affiliation_changed", "superseded",
            "cessation_of_operation", "privilege_withdrawn"])]
        reason: Option<String>,
    },
    /// Print the authority's certificate: what clients have to trust
    #[command(after_help = "Example:\n  mdmq certs ca > ca.pem")]
    Ca,
    /// Replace the authority in steps: prepare the next one, let it sign, stop believing the former one
    #[command(
        after_help = "Without an option the next authority is made: `mdmq certs ca` then prints both, for clients to trust.\n\
                            When they do, --activate lets it sign: the server's certificate is issued anew at once, those of devices\n\
                            when they renew. Until --retire the former authority signs the list of its revoked certificates, and its key is\n\
                            kept for that. --retire ends it: its certificates are revoked, connections that came in with them close, and\n\
                            its key is removed. After a compromise do all three at once. A step that was killed may be given again.\n\
                            A running server notices within seconds.\n\n\
                            Examples:\n  mdmq certs rotate\n  mdmq certs rotate --activate\n  mdmq certs rotate --retire"
    )]
    Rotate {
        /// Let the next authority sign
        #[arg(long, conflicts_with = "retire")]
        activate: bool,
        /// Stop believing former authorities, and remove their keys
        #[arg(long)]
        retire: bool,
    },
    /// Issue the server's certificate anew; a running server takes it within seconds
    #[command(after_help = "Example:\n  MDMQ_MQTT__PUBLIC_HOST=mdm.example.org mdmq certs issue-server")]
    IssueServer {
        /// Settings with the names that agents are told
        #[arg(long, env = "MDMQ_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

pub fn run(verb: Certs, place: &Place) -> Done {
    match verb {
        Certs::List { .. } | Certs::Revoke { .. } | Certs::Show { serial: Some(_) } => ask(of_devices(verb, place)),
        Certs::Show { serial: None } | Certs::Ca | Certs::Rotate { .. } | Certs::IssueServer { .. } => {
            files(verb, place)
        }
    }
}

/// What the running server knows.
async fn of_devices(verb: Certs, place: &Place) -> Done {
    let api = Api::of(place)?;
    match verb {
        Certs::List { serial, state, expiring_days } => {
            let days = expiring_days.map(|it| it.to_string());
            let wishes = [("serial", serial), ("state", state), ("expiring_days", days)];
            let found = api.get(&format!("/certificates{}", query(&wishes))).await?;
            let columns = [
                ("serial_number", "NUMBER"),
                ("serial", "DEVICE"),
                ("entity", "ENTITY"),
                ("agent", "AGENT"),
                ("state", "STATE"),
                ("ends_at", "ENDS"),
                ("reason", "REASON"),
            ];
            list(&found, &columns, "no certificates", place)
        }
        Certs::Revoke { serial, reason, .. } => {
            let which = serial.map_or_else(String::new, |it| format!("/{}", quoted(&it)));
            one(&api.delete(&format!("/certificates{which}{}", query(&[("reason", reason)]))).await?, place)
        }
        Certs::Show { serial } => {
            let found = api.get(&format!("/certificates/{}", quoted(&serial.unwrap_or_default()))).await?;
            if place.json {
                show::json(&found);
            } else {
                found.as_array().into_iter().flatten().for_each(show::members);
            }
            Ok(())
        }
        Certs::Ca | Certs::Rotate { .. } | Certs::IssueServer { .. } => Ok(()), // were run by `run`
    }
}

/// What the files of the data directory say.
fn files(verb: Certs, place: &Place) -> Done {
    let now = Clock::System.now();
    // A mistyped directory must not get an authority that nobody trusts.
    let authority = match verb {
        Certs::IssueServer { .. } => {
            DataDir::open(&place.data_dir)?;
            Authority::open(&place.data_dir, now)?
        }
        _ => Authority::existing(&place.data_dir)?,
    };
    match verb {
        Certs::Ca => {
            let pem = std::fs::read_to_string(authority.certificate_file())?;
            if place.json { show::json(&json!({ "pem": pem })) } else { show::say(&pem) }
        }
        Certs::Rotate { activate, retire } => {
            match (activate, retire) {
                (true, _) => authority.activate_next()?,
                (_, true) => authority.retire_former()?,
                _ => authority.prepare_next(now)?,
            }
            overview(&authority, place)?;
        }
        Certs::IssueServer { config } => {
            authority.issue_server(&server_names(&Config::load(config.as_deref())?), now)?;
            overview(&authority, place)?;
        }
        Certs::Show { .. } => overview(&authority, place)?,
        Certs::List { .. } | Certs::Revoke { .. } => {} // were run by `run`
    }
    Ok(())
}

fn overview(authority: &Authority, place: &Place) -> Done {
    let row = |what: &str, is: Certificate, file: PathBuf| {
        json!({
            "certificate": what,
            "subject": is.subject,
            "names": is.names,
            "not_before": is.not_before.rfc3339(),
            "not_after": is.not_after.rfc3339(),
            "file": file.display().to_string(),
        })
    };
    let authorities = authority.authorities()?.into_iter();
    let mut all: Vec<_> = authorities.map(|(role, is)| row(role.as_str(), is, authority.certificate_file())).collect();
    if authority.server_file().exists() {
        all.push(row("server", describe(&authority.server_file())?, authority.server_file()));
    }
    let all = all.into();
    if place.json {
        show::json(&all);
    } else {
        let columns = [("certificate", "CERTIFICATE"), ("not_after", "ENDS"), ("names", "NAMES"), ("file", "FILE")];
        show::table(&all, &columns, "no certificates");
    }
    Ok(())
}
