//! What people and scripts see: aligned tables, or JSON.

use serde_json::Value;

/// Prints JSON.
pub fn json(value: &Value) {
    say(&format!("{value:#}\n"));
}

/// Prints the named members of every object, one line each under a heading, or the sentence where there is none.
pub fn table(rows: &Value, columns: &[(&str, &str)], when_empty: &str) {
    let rows = rows.as_array().map(Vec::as_slice).unwrap_or_default();
    if rows.is_empty() {
        return say(&format!("{when_empty}\n"));
    }
    let heading = columns.iter().map(|(_, heading)| (*heading).to_owned()).collect();
    let mut lines: Vec<Vec<String>> = vec![heading];
    lines.extend(rows.iter().map(|row| columns.iter().map(|(member, _)| cell(&row[*member])).collect()));
    say(&aligned(&lines));
}

/// Prints the members of one object, one line each.
pub fn members(object: &Value) {
    let lines: Vec<Vec<String>> = object
        .as_object()
        .map(|it| it.iter().map(|(name, value)| vec![name.clone(), cell(value)]).collect())
        .unwrap_or_default();
    say(&aligned(&lines));
}

/// A value as a person reads it. Text from devices must not steer the terminal.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::String(text) => text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// Prints; a reader that went away (`mdmq agent list | head`) is no error.
pub fn say(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| lines.iter().filter_map(|l| l.get(column)).map(|it| it.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let padded: Vec<String> =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}", width = *width)).collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_do_not_trail() {
        let lines = [vec!["ID".into(), "NAME".into()], vec!["100".into(), "é".into()]];
        assert_eq!(aligned(&lines), "ID   NAME\n100  é\n");
    }

    #[test]
    fn text_of_devices_does_not_steer_the_terminal() {
        assert_eq!(cell(&Value::String("a\u{1b}[2J".into())), "a\u{fffd}[2J");
    }
}
