//! `mdmq certs`: the authority and the server's certificate are files of the data directory, whether a server runs or not;
//! certificates of devices are asked of the running server.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Subcommand};
use serde_json::{Value, json};

use super::{
    Done, Failure, Place,
    api::{Api, query, quoted},
    ask, show,
    sure::sure,
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
    #[command(after_help = "Examples:\n  mdmq certs show --config /etc/mdmq/server.toml\n  mdmq certs show AZERTY")]
    Show {
        /// The number of a certificate, or the serial of a device
        serial: Option<String>,
        /// Settings that may name a certificate of the server's from elsewhere
        #[arg(long, env = "MDMQ_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Certificates of devices, the latest first
    #[command(after_help = "Examples:\n  mdmq certs list --serial AZERTY\n  mdmq certs list --expiring-days 14")]
    List {
        /// Only of devices with this serial
        #[arg(long)]
        serial: Option<String>,
        /// Only in this state
        #[arg(long, value_parser = ["valid", "superseded", "revoked", "ended"])]
        state: Option<String>,
        /// Only those that are taken now and end within so many days
        #[arg(long, value_name = "DAYS")]
        expiring_days: Option<u32>,
    },
    /// Revoke a certificate, or all of a device; connections that came in with them close at once
    #[command(
        after_help = "With --all it asks first. Without a terminal, or with --json, nobody can be asked: then it needs --yes.\n\n\
                      Examples:\n  mdmq certs revoke 4F:1A:…\n  mdmq certs revoke AZERTY --reason key_compromise\n  \
                      mdmq certs revoke --all --yes",
        group = ArgGroup::new("which").required(true).args(["serial", "all"])
    )]
    Revoke {
        /// The number of the certificate, or the serial of the device
        serial: Option<String>,
        /// The tenant (as `certs list` shows it), where several have a device with this serial
        #[arg(long, value_name = "N", conflicts_with = "all")]
        entity: Option<i64>,
        /// Everything that the built-in authority signed for devices, because its key is in other hands
        #[arg(long)]
        all: bool,
        /// Do not ask
        #[arg(long, requires = "all")]
        yes: bool,
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
        Certs::List { .. } | Certs::Revoke { .. } | Certs::Show { serial: Some(_), .. } => ask(of_devices(verb, place)),
        Certs::Show { serial: None, .. } | Certs::Ca | Certs::Rotate { .. } | Certs::IssueServer { .. } => {
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
                ("issuer", "ISSUER"),
                ("reason", "REASON"),
            ];
            list(&if place.json { found } else { with_short_issuers(found) }, &columns, "no certificates", place)
        }
        Certs::Revoke { serial, entity, yes, reason, .. } => {
            let which = serial.as_ref().map_or_else(String::new, |it| format!("/{}", quoted(it)));
            if serial.is_none() {
                sure(yes, "this ends all certificates that devices got here", "all", place)?;
            }
            let wishes = query(&[("entity", entity.map(|it| it.to_string())), ("reason", reason)]);
            let done = api.delete(&format!("/certificates{which}{wishes}")).await?;
            if !place.json && [json!([]), json!(0)].contains(&done["revoked"]) {
                show::say("there was nothing left to revoke\n");
                return Ok(());
            }
            one(&done, place)
        }
        Certs::Show { serial, .. } => {
            let found = api.get(&format!("/certificates/{}", quoted(&serial.unwrap_or_default()))).await?;
            match found {
                Value::Array(found) if !place.json => found.into_iter().for_each(print_whole),
                found => show::json(&found),
            }
            Ok(())
        }
        Certs::Ca | Certs::Rotate { .. } | Certs::IssueServer { .. } => Ok(()), // were run by `run`
    }
}

/// The members of a certificate, and itself as a block that can be copied.
fn print_whole(mut certificate: Value) {
    let pem = certificate.as_object_mut().and_then(|it| it.remove("pem"));
    show::members(&certificate);
    // Our authority wrote it; what is in it steers no terminal.
    let lines = pem.as_ref().and_then(Value::as_str).unwrap_or_default().lines();
    lines.for_each(|line| show::say(&format!("{}\n", show::cell(&line.into()))));
    show::say("\n");
}

/// The common names of authorities alone: that is how people tell them apart.
fn with_short_issuers(mut certificates: Value) -> Value {
    for certificate in certificates.as_array_mut().into_iter().flatten() {
        certificate["issuer"] = certificate["issuer"].as_str().map(short).unwrap_or_default().into();
    }
    certificates
}

fn short(issuer: &str) -> &str {
    let name = issuer.split(", ").find_map(|part| part.strip_prefix("CN="));
    name.unwrap_or(issuer)
}

/// The authority of the data directory, or why it cannot be looked at.
fn existing(place: &Place) -> Result<Authority, Failure> {
    let file = place.data_dir.join("certs/ca.pem");
    match file.metadata() {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            let name = file.display();
            Err(Failure(format!("cannot read {name}: {e}; the authority belongs to the account that runs the server")))
        }
        Err(_) if place.server.is_some() => Err(Failure(format!(
            "the authority is a file of the server's data directory, which --server does not reach, and {} has none",
            place.data_dir.display()
        ))),
        _ => Ok(Authority::existing(&place.data_dir)?),
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
        _ => existing(place)?,
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
            overview(&authority, authority.server_file(), place)?;
        }
        Certs::IssueServer { config } => {
            authority.issue_server(&server_names(&Config::load(config.as_deref())?), now)?;
            overview(&authority, authority.server_file(), place)?;
        }
        Certs::Show { config, .. } => overview(&authority, served(config.as_deref(), &authority)?, place)?,
        Certs::List { .. } | Certs::Revoke { .. } => {} // were run by `run`
    }
    Ok(())
}

/// The certificate that the settings serve: one from elsewhere, or that of the authority.
fn served(config: Option<&Path>, authority: &Authority) -> Result<PathBuf, Failure> {
    let config = match config {
        Some(file) => Config::load(Some(file))?,
        // The environment may hold settings of other programs' making; nobody named them.
        None => Config::load(None).unwrap_or_default(),
    };
    let brought = config.mqtt.certificate_file;
    Ok(if brought.is_empty() { authority.server_file() } else { brought.into() })
}

fn overview(authority: &Authority, server: PathBuf, place: &Place) -> Done {
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
    if server.exists() || server != authority.server_file() {
        all.push(row("server", describe(&server)?, server));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_told_apart_by_their_common_names() {
        for (issuer, name) in [
            ("CN=mdmq private authority of 2026-11-24T04:44:35Z", "mdmq private authority of 2026-11-24T04:44:35Z"),
            ("C=FR, O=Example, CN=Devices", "Devices"),
            ("O=Example", "O=Example"),
            ("", ""),
        ] {
            assert_eq!(short(issuer), name);
        }
    }
}
