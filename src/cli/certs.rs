//! `mdmq certs`: works on the data directory, whether a server runs or not.

use clap::Subcommand;
use serde_json::json;

use super::{Done, Place, show};
use crate::{
    clock::Clock,
    config::Config,
    datadir::DataDir,
    pki::{Authority, describe, server_names},
};

#[derive(Debug, Subcommand)]
pub enum Certs {
    /// What the authority and the server's certificate say
    #[command(after_help = "Example:\n  mdmq certs show --json")]
    Show,
    /// Print the authority's certificate: what clients have to trust
    #[command(after_help = "Example:\n  mdmq certs ca > ca.pem")]
    Ca,
    /// Issue the server's certificate anew; the running server takes it at its next start
    #[command(after_help = "Example:\n  MDMQ_MQTT__PUBLIC_HOST=mdm.example.org mdmq certs issue-server")]
    IssueServer {
        /// Settings with the names that agents are told
        #[arg(long, env = "MDMQ_CONFIG", value_name = "FILE")]
        config: Option<std::path::PathBuf>,
    },
}

pub fn run(verb: Certs, place: &Place) -> Done {
    let now = Clock::System.now();
    DataDir::open(&place.data_dir)?;
    let authority = Authority::open(&place.data_dir, now)?;
    match verb {
        Certs::Ca => {
            let pem = std::fs::read_to_string(authority.certificate_file())?;
            if place.json { show::json(&json!({ "pem": pem })) } else { show::say(&pem) }
        }
        Certs::IssueServer { config } => {
            authority.issue_server(&server_names(&Config::load(config.as_deref())?), now)?;
            overview(&authority, place)?;
        }
        Certs::Show => overview(&authority, place)?,
    }
    Ok(())
}

fn overview(authority: &Authority, place: &Place) -> Done {
    let mut all = Vec::new();
    for (what, file) in [("authority", authority.certificate_file()), ("server", authority.server_file())] {
        if file.exists() {
            let is = describe(&file)?;
            all.push(json!({
                "certificate": what,
                "subject": is.subject,
                "names": is.names,
                "not_before": is.not_before.rfc3339(),
                "not_after": is.not_after.rfc3339(),
                "file": file.display().to_string(),
            }));
        }
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
