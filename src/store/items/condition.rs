//! Criteria of searches as SQL. Everything that comes from outside becomes an argument, never text.

use super::{ItemType, Kind, SearchOption, when};
use crate::{
    ids::EntityId,
    mdm::rights::Scope,
    store::{db::Value, scope},
};

/// How a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Holds the text, wherever; `^` and `$` bind it to the beginning and the end. Numbers are equal.
    Contains,
    /// Does not hold it.
    NotContains,
    /// Is it.
    Equals,
    /// Is not it.
    NotEquals,
    /// Is less, or before.
    LessThan,
    /// Is more, or after.
    MoreThan,
}

impl Comparison {
    /// GLPI's names.
    pub fn parse(text: &str) -> Option<Comparison> {
        Some(match text {
            "contains" => Comparison::Contains,
            "notcontains" => Comparison::NotContains,
            "equals" => Comparison::Equals,
            "notequals" => Comparison::NotEquals,
            "lessthan" => Comparison::LessThan,
            "morethan" => Comparison::MoreThan,
            _ => return None,
        })
    }

    /// Those that make sense for a kind of value, by GLPI's names.
    pub fn of(kind: Kind) -> &'static [&'static str] {
        match kind {
            Kind::Int | Kind::Time => &["contains", "equals", "notequals", "lessthan", "morethan"],
            Kind::Flag => &["contains", "equals", "notequals"],
            Kind::Text => &["contains", "notcontains", "equals", "notequals"],
        }
    }
}

/// How a criterion is bound to those before it. `and` binds closer, as in SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// And this.
    And,
    /// Or this.
    Or,
    /// And not this.
    AndNot,
    /// Or not this.
    OrNot,
}

impl Link {
    /// GLPI's words, in any case.
    pub fn parse(text: &str) -> Option<Link> {
        Some(match text.to_ascii_lowercase().as_str() {
            "" | "and" => Link::And,
            "or" => Link::Or,
            "and not" => Link::AndNot,
            "or not" => Link::OrNot,
            _ => return None,
        })
    }
}

/// What a criterion is about.
#[derive(Debug, Clone, Copy)]
pub enum Field {
    /// One option.
    One(&'static SearchOption),
    /// Any option that holds text.
    Any,
    /// An entity, which is the one with this number or below it.
    Tree(&'static SearchOption),
}

/// One condition of a search.
#[derive(Debug, Clone)]
pub struct Criterion {
    /// To those before.
    pub link: Link,
    /// About what.
    pub field: Field,
    /// How.
    pub comparison: Comparison,
    /// With what.
    pub value: String,
}

/// All criteria in order.
pub(super) fn all(of: &'static ItemType, criteria: &[Criterion], args: &mut Vec<Value>) -> String {
    let mut sql = String::new();
    for (at, criterion) in criteria.iter().enumerate() {
        let (link, not) = match criterion.link {
            Link::And => (" and ", ""),
            Link::Or => (" or ", ""),
            Link::AndNot => (" and ", "not "),
            Link::OrNot => (" or ", "not "),
        };
        let one = |option: &SearchOption, args: &mut Vec<Value>| {
            compare(option.sql, option.kind, criterion.comparison, &criterion.value, args)
        };
        let condition = match criterion.field {
            Field::One(option) => one(option, args),
            Field::Any => {
                let texts = of.options.iter().filter(|it| it.kind == Kind::Text);
                let any = texts.map(|it| one(it, args)).collect::<Vec<_>>().join(" or ");
                if any.is_empty() { "1 = 0".into() } else { any }
            }
            Field::Tree(option) => compare_tree(option, criterion.comparison, &criterion.value, args),
        };
        sql.push_str(&format!("{}{not}({condition})", if at == 0 { "" } else { link }));
    }
    sql
}

/// One comparison. It is never null, so that it can be negated.
pub(super) fn compare(sql: &str, kind: Kind, how: Comparison, value: &str, args: &mut Vec<Value>) -> String {
    match kind {
        Kind::Text => compare_text(sql, how, value, args),
        Kind::Time => match when::span(value) {
            Some((start, end)) => compare_span(sql, how, start, end, args),
            None => without_value(how, value),
        },
        Kind::Int | Kind::Flag => {
            let flag = format!("case when {sql} then 1 else 0 end");
            let sql = if kind == Kind::Flag { &flag } else { sql };
            match value.trim().parse::<i64>() {
                Ok(number) => compare_span(sql, how, number, number.saturating_add(1), args),
                Err(_) => without_value(how, value),
            }
        }
    }
}

/// Whether an entity is that with this number or one below it.
fn compare_tree(option: &SearchOption, how: Comparison, value: &str, args: &mut Vec<Value>) -> String {
    let top = value.trim().parse().map(|it| Scope::Entities(vec![(EntityId(it), true)]));
    let (Some(entity), Ok(top)) = (option.entity_sql(), top) else { return without_value(how, value) };
    let within = scope::subquery(&top, args).unwrap_or_else(|| "(select entity_id from entity)".into());
    let not = if how == Comparison::NotEquals { "not " } else { "" };
    format!("{entity} {not}in {within}")
}

/// Everything holds nothing; otherwise no number or date is what cannot be read as one.
fn without_value(how: Comparison, value: &str) -> String {
    let is_met = match how {
        Comparison::Contains => value.trim().is_empty(),
        Comparison::NotContains => !value.trim().is_empty(),
        Comparison::NotEquals => true,
        Comparison::Equals | Comparison::LessThan | Comparison::MoreThan => false,
    };
    if is_met { "1 = 1" } else { "1 = 0" }.into()
}

fn compare_span(sql: &str, how: Comparison, start: i64, end: i64, args: &mut Vec<Value>) -> String {
    let mut arg = |value: i64| {
        args.push(Value::Int(Some(value)));
        format!("${}", args.len())
    };
    let condition = match how {
        Comparison::Contains | Comparison::Equals => format!("({sql}) >= {} and ({sql}) < {}", arg(start), arg(end)),
        Comparison::NotContains | Comparison::NotEquals => {
            return format!("({sql}) is null or ({sql}) < {} or ({sql}) >= {}", arg(start), arg(end));
        }
        Comparison::LessThan => format!("({sql}) < {}", arg(start)),
        Comparison::MoreThan => format!("({sql}) >= {}", arg(end)),
    };
    format!("({sql}) is not null and {condition}")
}

fn compare_text(sql: &str, how: Comparison, value: &str, args: &mut Vec<Value>) -> String {
    let is_pattern = matches!(how, Comparison::Contains | Comparison::NotContains);
    let value = if is_pattern { pattern(value) } else { value.to_owned() };
    args.push(Value::Text(Some(value)));
    let (sql, arg) = (format!("lower(coalesce(cast({sql} as text), ''))"), format!("lower(${})", args.len()));
    match how {
        Comparison::Contains => format!("{sql} like {arg} escape '\\'"),
        Comparison::NotContains => format!("not {sql} like {arg} escape '\\'"),
        Comparison::Equals => format!("{sql} = {arg}"),
        Comparison::NotEquals => format!("{sql} <> {arg}"),
        Comparison::LessThan => format!("{sql} < {arg}"),
        Comparison::MoreThan => format!("{sql} > {arg}"),
    }
}

fn pattern(value: &str) -> String {
    let (is_start, value) = value.strip_prefix('^').map_or((false, value), |it| (true, it));
    let (is_end, value) = value.strip_suffix('$').map_or((false, value), |it| (true, it));
    let mut pattern = String::from(if is_start { "" } else { "%" });
    for c in value.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    if !is_end {
        pattern.push('%');
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_patterns() {
        let check = |value: &str, expected: &str| assert_eq!(pattern(value), expected, "{value}");
        check("", "%%");
        check("a", "%a%");
        check("^a", "a%");
        check("a$", "%a");
        check("^a$", "a");
        check("50%_\\", "%50\\%\\_\\\\%");
    }

    #[test]
    fn what_is_no_number_equals_no_number() {
        let check = |kind: Kind, how: &str, value: &str, expected: &str| {
            let mut args = Vec::new();
            let sql = compare("x", kind, Comparison::parse(how).unwrap(), value, &mut args);
            assert_eq!(sql, expected, "{how} {value}");
            assert_eq!(sql.matches('$').count(), args.len());
        };
        check(Kind::Int, "contains", "17", "(x) is not null and (x) >= $1 and (x) < $2");
        check(Kind::Int, "contains", "", "1 = 1");
        check(Kind::Int, "equals", "17; drop table agent", "1 = 0");
        check(Kind::Int, "notequals", "x", "1 = 1");
        check(Kind::Int, "lessthan", "9223372036854775807", "(x) is not null and (x) < $1");
        check(Kind::Time, "morethan", "yesterday", "1 = 0");
        check(Kind::Time, "morethan", "2026-11-23", "(x) is not null and (x) >= $1");
        check(Kind::Text, "equals", "'", "lower(coalesce(cast(x as text), '')) = lower($1)");
    }
}
