//! Where devices were: in pieces, each of them whole, from where the last run stopped.

use std::collections::HashMap;

use super::{Report, Source, source::Line};
use crate::{
    clock::Timestamp,
    store::{
        Store, StoreError,
        administer::Refused,
        db::{Statement, Tx, Value},
    },
};

/// Positions in one piece.
const PIECE_ROWS: usize = 2000;
/// Longest text of a coordinate.
const COORDINATE_CHARS_MAX: usize = 32;
const TABLE: &str = "glpi_plugin_flyvemdm_geolocations";
const COLUMNS: &[&str] = &["id", "computers_id", "latitude", "longitude", "@date"];

impl Store {
    /// Takes the positions of these computers (theirs to ours) over, after those of earlier runs. A dry run only counts.
    ///
    /// # Errors
    /// The database failed; the pieces before stay, and the next run goes on behind them.
    pub async fn move_positions(
        &self,
        source: &mut Source,
        name: &str,
        computers: &HashMap<i64, i64>,
        report: &mut Report,
        now: Timestamp,
    ) -> Result<Result<(), Refused>, StoreError> {
        let question = "select our_id from imported where source = $1 and kind = 'geolocations' and their_id = 0";
        let stopped = self.row(Statement::new(question, [name.into()])).await?;
        let mut after = stopped.map_or(0, |row| row.int("our_id"));
        loop {
            let lines = match source.table_from(TABLE, COLUMNS, after, PIECE_ROWS).await {
                Ok(lines) => lines,
                Err(problem) => return Ok(Err(Refused::Conflict(problem.to_string()))),
            };
            let Some(last) = lines.last() else { return Ok(Ok(())) };
            after = last.int("id");
            let mut rows = Vec::with_capacity(lines.len());
            for line in &lines {
                match computers.get(&line.int("computers_id")).and_then(|ours| position(line, *ours, now)) {
                    Some(row) => {
                        report.added("geolocations");
                        rows.push(row);
                    }
                    None => {
                        let why = "its computer did not come, or it is no position";
                        report.skip("geolocations", line.int("id"), "", why);
                    }
                }
            }
            if !report.dry_run {
                let name = name.to_owned();
                self.write(move |tx| Box::pin(async move { write(tx, name, rows, after).await })).await?;
            }
        }
    }
}

fn position(line: &Line, computer: i64, now: Timestamp) -> Option<[Value; 5]> {
    let (latitude, longitude) = (line.text("latitude"), line.text("longitude"));
    let is_fine =
        |it: &str| it == "na" || (it.len() <= COORDINATE_CHARS_MAX && it.parse::<f64>().is_ok_and(f64::is_finite));
    let at = line.millis("date");
    (is_fine(&latitude) && is_fine(&longitude))
        .then(|| [computer.into(), at.into(), latitude.into(), longitude.into(), at.unwrap_or(now.0).into()])
}

async fn write(tx: &mut Tx, source: String, rows: Vec<[Value; 5]>, until: i64) -> Result<(), StoreError> {
    if !rows.is_empty() {
        let places: Vec<String> = (0..rows.len())
            .map(|row| {
                format!("(${}, ${}, ${}, ${}, ${})", row * 5 + 1, row * 5 + 2, row * 5 + 3, row * 5 + 4, row * 5 + 5)
            })
            .collect();
        let sql = format!(
            "insert into geolocation (computer_id, at, latitude, longitude, received_at) values {}",
            places.join(", ")
        );
        tx.execute(Statement::new(sql, rows.into_iter().flatten().collect::<Vec<Value>>())).await?;
    }
    tx.execute(Statement::new(
        "insert into imported (source, kind, their_id, our_id) values ($1, 'geolocations', 0, $2) \
         on conflict (source, kind, their_id) do update set our_id = excluded.our_id",
        [source.into(), until.into()],
    ))
    .await?;
    Ok(())
}
