//! Items as GLPI's API knows them: the table of their types, and the questions about them. One row per type; what is asked of all types
//! alike is asked here. Reads only: changes are stories of their own.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value as Json;

use super::{
    Store, StoreError,
    db::{Row, Statement, Value},
    scope,
};
use crate::{
    clock::Timestamp,
    ids::AgentId,
    mdm::rights::{Rights, Scope},
};

mod catalog;
mod condition;
mod when;

pub use catalog::{ITEM_TYPES, item_type};
pub use condition::{Comparison, Criterion, Field as Searched, Link};

/// Rows that one answer holds.
pub const ROWS_MAX: i64 = 1000;
/// Criteria that one search holds.
pub const CRITERIA_MAX: usize = 30;

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A number.
    Int,
    /// Yes or no, shown as 1 or 0.
    Flag,
    /// Text.
    Text,
    /// Milliseconds since 1970, shown as a date.
    Time,
}

/// A member of an item.
#[derive(Debug)]
pub struct Field {
    /// GLPI's name.
    pub name: &'static str,
    /// Where it comes from.
    sql: &'static str,
    /// What it is.
    pub kind: Kind,
    /// The type of the item that it numbers; "" for none.
    pub link: &'static str,
}

/// What can be searched for and shown under a number.
#[derive(Debug)]
pub struct SearchOption {
    /// Dashboards know it by this.
    pub number: u16,
    /// People know it by this.
    pub title: &'static str,
    /// Behind the name of the type: what it is, in words for programs.
    pub uid: &'static str,
    /// Where it comes from.
    sql: &'static str,
    /// What it is.
    pub kind: Kind,
}

impl SearchOption {
    /// Where the number of the entity comes from; `None`: it is not about entities. Every type names its entity `e`.
    fn entity_sql(&self) -> Option<&'static str> {
        match self.uid {
            "Entity.name" => Some("e.entity_id"),
            "Entity.id" => Some(self.sql),
            _ => None,
        }
    }

    /// Whether it can be searched for with those below it.
    pub fn is_tree(&self) -> bool {
        self.entity_sql().is_some()
    }
}

/// The beginning of what a date in GLPI's form names.
pub fn moment(date: &str) -> Option<Timestamp> {
    when::span(date).map(|(start, _)| Timestamp(start))
}

/// A kind of item.
#[derive(Debug)]
pub struct ItemType {
    /// In paths.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// Who may do what.
    pub rights: Rights,
    /// Tables.
    from: &'static str,
    /// The number of the item.
    key: &'static str,
    /// Which rows belong to the entities `{scope}`; "" for all.
    visible: &'static str,
    /// Which rows of the entities above, `{above}`, are seen from below, but not changed from there; "" for none.
    visible_below: &'static str,
    /// Which rows belong to the agent `{agent}`; "" for none, "true" for all that are visible.
    own: &'static str,
    /// Members.
    pub fields: &'static [Field],
    /// Searched by.
    pub options: &'static [SearchOption],
    /// The types that it is listed below, and the number of the one above.
    pub parents: &'static [(&'static str, &'static str)],
}

impl ItemType {
    /// Whether agents may read their own.
    pub fn is_read_by_agents(&self) -> bool {
        !self.own.is_empty()
    }

    /// Whether its items belong to no entity, so that they are everybody's.
    pub fn is_shared(&self) -> bool {
        self.visible.is_empty()
    }

    /// What people call an item: where it hangs in a tree, else its name.
    fn name_field(&self) -> Option<&'static Field> {
        ["completename", "name"].iter().find_map(|name| self.fields.iter().find(|it| it.name == *name))
    }

    /// The option with this number.
    pub fn option(&self, number: u16) -> Option<&'static SearchOption> {
        self.options.iter().find(|it| it.number == number)
    }
}

/// What somebody has in mind with an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To see it.
    Looking,
    /// To change it, to remove it, or to apply something to it.
    Changing,
}

/// Who looks: what is outside is not there.
#[derive(Debug, Clone)]
pub struct Sight {
    /// What for.
    pub purpose: Purpose,
    /// In these entities.
    pub scope: Scope,
    /// Only what is this agent's.
    pub agent: Option<AgentId>,
    /// When, for what expires.
    pub now: Timestamp,
}

/// A piece of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// How many are skipped.
    pub start: i64,
    /// How many are shown; [`ROWS_MAX`] at most.
    pub count: i64,
}

/// What is listed, in which order.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Only those below this item of the parent type.
    pub below: Option<(&'static str, i64)>,
    /// Only those that hold these texts in these members.
    pub texts: Vec<(&'static Field, String)>,
    /// Only those that meet these.
    pub criteria: Vec<Criterion>,
    /// By this expression; by number otherwise.
    pub order: Option<&'static str>,
    /// From the end.
    pub is_descending: bool,
}

impl Wanted {
    /// In the order of this member.
    pub fn sort_by(&mut self, field: &'static Field) {
        self.order = Some(field.sql);
    }

    /// In the order of this option.
    pub fn sort_by_option(&mut self, option: &'static SearchOption) {
        self.order = Some(option.sql);
    }
}

/// A piece of a list, and how long the list is.
#[derive(Debug)]
pub struct Page {
    /// Items in the list.
    pub total: i64,
    /// The values of those in the window.
    pub rows: Vec<Vec<Json>>,
}

impl Store {
    /// The values of one item's fields. `None`: there is none, or it is out of sight.
    ///
    /// # Errors
    /// The database failed.
    pub async fn item(&self, of: &'static ItemType, sight: &Sight, id: i64) -> Result<Option<Vec<Json>>, StoreError> {
        let mut question = Question::about(of, sight);
        let key = question.arg(Value::Int(Some(id)));
        question.only(format!("{} = {key}", of.key));
        let columns = columns_of(of.fields);
        let statement = question.select(&columns, "limit 1", sight.now);
        Ok(self.row(statement).await?.map(|row| values(&row, &columns)))
    }

    /// Items with their fields.
    ///
    /// # Errors
    /// The database failed.
    pub async fn items(
        &self,
        of: &'static ItemType,
        sight: &Sight,
        wanted: &Wanted,
        window: Window,
    ) -> Result<Page, StoreError> {
        self.page(of, sight, wanted, window, &columns_of(of.fields)).await
    }

    /// Items with the values of some search options.
    ///
    /// # Errors
    /// The database failed.
    pub async fn search(
        &self,
        of: &'static ItemType,
        sight: &Sight,
        wanted: &Wanted,
        window: Window,
        shown: &[&'static SearchOption],
    ) -> Result<Page, StoreError> {
        let columns: Vec<Column> = shown.iter().map(|it| Column { sql: it.sql, kind: it.kind }).collect();
        self.page(of, sight, wanted, window, &columns).await
    }

    /// What people call these items, in sight or not: GLPI names what an item is linked to whoever asks. What is gone, and what has no
    /// name, is not in the answer.
    ///
    /// # Errors
    /// The database failed.
    pub async fn names(
        &self,
        of: &'static ItemType,
        ids: &BTreeSet<i64>,
        now: Timestamp,
    ) -> Result<HashMap<i64, String>, StoreError> {
        let Some(name) = of.name_field().filter(|_| !ids.is_empty()) else { return Ok(HashMap::new()) };
        let mut question = Question { of, conditions: Vec::new(), args: Vec::new() };
        let numbers: Vec<String> = ids.iter().map(|id| question.arg(Value::Int(Some(*id)))).collect();
        question.only(format!("{} in ({})", of.key, numbers.join(", ")));
        let columns = [Column { sql: of.key, kind: Kind::Int }, Column { sql: name.sql, kind: name.kind }];
        let rows = self.rows(question.select(&columns, "", now)).await?;
        Ok(rows.iter().filter_map(|row| Some((row.opt_int("c0")?, row.opt_text("c1")?))).collect())
    }

    async fn page(
        &self,
        of: &'static ItemType,
        sight: &Sight,
        wanted: &Wanted,
        window: Window,
        columns: &[Column],
    ) -> Result<Page, StoreError> {
        let mut question = Question::about(of, sight);
        question.narrow(wanted);
        let count = question.count(sight.now);
        let total = self.row(count).await?.map_or(0, |row| row.int("n"));
        if window.start >= total || window.count <= 0 {
            return Ok(Page { total, rows: Vec::new() });
        }
        let direction = if wanted.is_descending { "desc" } else { "asc" };
        let by = wanted.order.map_or(String::new(), |it| format!("({it}) is null, ({it}) {direction}, "));
        let limit = question.arg(Value::Int(Some(window.count.min(ROWS_MAX))));
        let skip = question.arg(Value::Int(Some(window.start)));
        let tail = format!("order by {by}{} {direction} limit {limit} offset {skip}", of.key);
        let rows = self.rows(question.select(columns, &tail, sight.now)).await?;
        Ok(Page { total, rows: rows.iter().map(|row| values(row, columns)).collect() })
    }
}

/// Something to show.
struct Column {
    sql: &'static str,
    kind: Kind,
}

fn columns_of(fields: &'static [Field]) -> Vec<Column> {
    fields.iter().map(|it| Column { sql: it.sql, kind: it.kind }).collect()
}

/// A statement that grows.
#[derive(Clone)]
struct Question {
    of: &'static ItemType,
    conditions: Vec<String>,
    args: Vec<Value>,
}

impl Question {
    fn about(of: &'static ItemType, sight: &Sight) -> Self {
        let mut it = Self { of, conditions: Vec::new(), args: Vec::new() };
        if let Some(agent) = sight.agent {
            match of.own {
                "" => it.only("1 = 0".into()),
                own if own.contains("{agent}") => {
                    let agent = it.arg(Value::Int(Some(agent.0)));
                    it.only(own.replace("{agent}", &agent));
                }
                own => it.only(own.into()),
            }
        }
        let below = if sight.purpose == Purpose::Looking { of.visible_below } else { "" };
        if !of.visible.is_empty()
            && let Some(condition) = scope::condition(of.visible, below, &sight.scope, &mut it.args)
        {
            it.only(condition);
        }
        it
    }

    fn only(&mut self, condition: String) {
        self.conditions.push(format!("({condition})"));
    }

    fn arg(&mut self, value: Value) -> String {
        self.args.push(value);
        format!("${}", self.args.len())
    }

    fn narrow(&mut self, wanted: &Wanted) {
        if let Some((sql, id)) = wanted.below {
            let id = self.arg(Value::Int(Some(id)));
            self.only(format!("{sql} = {id}"));
        }
        for (field, text) in &wanted.texts {
            let condition = condition::compare(field.sql, field.kind, Comparison::Contains, text, &mut self.args);
            self.only(condition);
        }
        if !wanted.criteria.is_empty() {
            let condition = condition::all(self.of, &wanted.criteria, &mut self.args);
            self.only(condition);
        }
    }

    fn count(&self, now: Timestamp) -> Statement {
        self.clone().finish("select count(*) as n", "", now)
    }

    fn select(self, columns: &[Column], tail: &str, now: Timestamp) -> Statement {
        let mut shown = String::from("select ");
        for (at, Column { sql, kind }) in columns.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            // Casts, because the engines disagree about the types of expressions.
            let value = match kind {
                Kind::Int | Kind::Time => format!("cast({sql} as bigint)"),
                Kind::Flag => format!("cast(case when {sql} then 1 else 0 end as bigint)"),
                Kind::Text => format!("cast({sql} as text)"),
            };
            shown.push_str(&format!("{comma}{value} as c{at}"));
        }
        self.finish(&shown, tail, now)
    }

    fn finish(mut self, select: &str, tail: &str, now: Timestamp) -> Statement {
        let conditions = if self.conditions.is_empty() { "true".to_owned() } else { self.conditions.join(" and ") };
        let mut sql = format!("{select} from {} where {conditions} {tail}", self.of.from);
        for (name, table) in catalog::constants() {
            if sql.contains(name) {
                sql = sql.replace(name, table);
            }
        }
        if sql.contains("{now}") {
            let now = self.arg(Value::Int(Some(now.0)));
            sql = sql.replace("{now}", &now);
        }
        Statement::new(sql, self.args)
    }
}

fn values(row: &Row, columns: &[Column]) -> Vec<Json> {
    let value = |(at, column): (usize, &Column)| {
        let name = format!("c{at}");
        match column.kind {
            Kind::Int | Kind::Flag => row.opt_int(&name).map_or(Json::Null, Json::from),
            Kind::Text => row.opt_text(&name).map_or(Json::Null, Json::from),
            Kind::Time => row.opt_int(&name).map_or(Json::Null, |it| Timestamp(it).glpi().into()),
        }
    };
    columns.iter().enumerate().map(value).collect()
}
