//! `mdmq import`: moving in from another server.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{Done, Failure, Place, api::Api, show, tenants::list};

#[derive(Debug, Subcommand)]
pub enum Import {
    /// Take over a GLPI 9 database with Flyve 2: tenants, people, devices with their passwords, fleets, policies, files
    #[command(after_help = "The running server reads the database; a second run brings what changed since.\n\n\
                            Examples:\n  mdmq import flyve --from mysql://glpi@db.example.org/glpi --password-file pw --dry-run\n  \
                            mdmq import flyve --from mysql://glpi@db.example.org/glpi --password-file pw \\\n    \
                            --files /var/www/glpi/files/_plugins/flyvemdm")]
    Flyve {
        /// Where the database is: mysql://user@host/database
        #[arg(long, value_name = "URL")]
        from: String,
        /// File with the password of the database's user
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// Flyve's directory of files and packages, on the server's machine
        #[arg(long, value_name = "DIR")]
        files: Option<PathBuf>,
        /// Say what would happen, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
}

pub async fn import(verb: Import, place: &Place) -> Done {
    let Import::Flyve { from, password_file, files, dry_run } = verb;
    let complain = |file: &PathBuf, e: std::io::Error| Failure(format!("cannot read {}: {e}", file.display()));
    let password = match &password_file {
        Some(file) => std::fs::read_to_string(file).map_err(|e| complain(file, e))?.trim_end().to_owned(),
        None => String::new(),
    };
    let files = files.map(|it| it.canonicalize().map_err(|e| complain(&it, e))).transpose()?;
    let api = Api::of(place)?;
    // Hidden by itself when stderr is no terminal.
    let bar = indicatif::ProgressBar::new_spinner().with_message("reading and writing");
    bar.enable_steady_tick(std::time::Duration::from_millis(100));
    let body = json!({ "from": from, "password": password, "files": files, "dry_run": dry_run });
    let answer = api.post_patiently("/import/flyve", &body).await;
    bar.finish_and_clear();
    let report = answer?;
    if place.json {
        show::json(&report);
        return Ok(());
    }
    tell(&report, place)
}

fn tell(report: &Value, place: &Place) -> Done {
    let kinds: Vec<Value> = report["taken"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(kind, it)| json!({ "kind": kind, "added": it["added"], "updated": it["updated"], "skipped": it["skipped"] }))
        .collect();
    let columns = [("kind", "KIND"), ("added", "NEW"), ("updated", "KNOWN"), ("skipped", "LEFT BEHIND")];
    list(&kinds.into(), &columns, "there is nothing to take over", place)?;
    if report["skipped"].as_array().is_some_and(|it| !it.is_empty()) {
        show::say("\n");
        let columns = [("kind", "LEFT BEHIND"), ("id", "ID"), ("name", "NAME"), ("why", "WHY")];
        list(&report["skipped"], &columns, "", place)?;
    }
    if report["skipped_more"].as_u64().is_some_and(|more| more > 0) {
        show::say(&format!("and {} more\n", report["skipped_more"]));
    }
    for note in report["notes"].as_array().into_iter().flatten() {
        show::say(&format!("note: {}\n", show::cell(note)));
    }
    let end = if report["dry_run"] == true { "nothing was written: this was a dry run\n" } else { "done\n" };
    show::say(end);
    Ok(())
}
