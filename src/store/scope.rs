//! The entities of a session as a piece of SQL, and what is within them.

use super::{
    Store, StoreError,
    administer::LIST_ROWS_MAX,
    db::{Statement, Value},
};
use crate::{
    ids::{EntityId, PersonId},
    mdm::rights::Scope,
};

/// A subquery of the numbers of the entities, `None` for all of them. Its arguments are added to those of the statement.
pub(super) fn subquery(scope: &Scope, args: &mut Vec<Value>) -> Option<String> {
    let Scope::Entities(bases) = scope else { return None };
    let mut list =
        |is_recursive: bool| placeholders(bases.iter().filter(|it| it.1 == is_recursive).map(|it| it.0), args);
    let (trees, leaves) = (list(true), list(false));
    let leaves =
        format!("select entity_id from entity where entity_id in ({leaves})").replace("entity_id in ()", "1 = 0");
    if trees.is_empty() {
        return Some(format!("({leaves})"));
    }
    Some(format!(
        "(with recursive below (entity_id) as (select entity_id from entity where entity_id in ({trees}) \
         union select e.entity_id from entity e join below b on e.parent_id = b.entity_id) \
         select entity_id from below union {leaves})"
    ))
}

/// A condition on what belongs to entities: `within` holds for what is in them (`{scope}`), `from_below` for what those above them
/// (`{above}`) share with them; "" for nothing. `None`: the scope is everything, so there is no condition.
pub(super) fn condition(within: &str, from_below: &str, scope: &Scope, args: &mut Vec<Value>) -> Option<String> {
    let within = within.replace("{scope}", &subquery(scope, args)?);
    if from_below.is_empty() {
        return Some(within);
    }
    let from_below = from_below.replace("{above}", &above(scope, args)?);
    Some(format!("({within}) or ({from_below})"))
}

/// A subquery of the entities above those of the scope, whether these are in it or not.
fn above(scope: &Scope, args: &mut Vec<Value>) -> Option<String> {
    let Scope::Entities(bases) = scope else { return None };
    let bases = placeholders(bases.iter().map(|it| it.0), args);
    let first = "select parent_id from entity where parent_id is not null and";
    let first = format!("{first} entity_id in ({bases})").replace("entity_id in ()", "1 = 0");
    Some(format!(
        "(with recursive above (entity_id) as ({first} \
         union select e.parent_id from entity e join above b on e.entity_id = b.entity_id where e.parent_id is not null) \
         select entity_id from above)"
    ))
}

/// `$3, $4`, with the numbers among the arguments.
fn placeholders(entities: impl Iterator<Item = EntityId>, args: &mut Vec<Value>) -> String {
    let mut list = String::new();
    for entity in entities {
        args.push(Value::Int(Some(entity.0)));
        list.push_str(if list.is_empty() { "$" } else { ", $" });
        list.push_str(&args.len().to_string());
    }
    list
}

impl Store {
    /// Whether a person may do nothing outside these entities.
    ///
    /// # Errors
    /// The database failed.
    pub async fn person_is_within(&self, id: PersonId, entities: &Scope) -> Result<bool, StoreError> {
        let mut args = vec![id.0.into()];
        let Some(scope) = subquery(entities, &mut args) else { return Ok(true) };
        let sql =
            format!("select 1 as n from person_profile where person_id = $1 and entity_id not in {scope} limit 1");
        Ok(self.row(Statement::new(sql, args)).await?.is_none())
    }

    /// Whether an entity is one of these.
    ///
    /// # Errors
    /// The database failed.
    pub async fn entity_is_within(&self, entity: EntityId, entities: &Scope) -> Result<bool, StoreError> {
        let mut args = vec![entity.0.into()];
        let within = subquery(entities, &mut args).map_or(String::new(), |it| format!(" and entity_id in {it}"));
        let sql = format!("select 1 as n from entity where entity_id = $1{within}");
        Ok(self.row(Statement::new(sql, args)).await?.is_some())
    }

    /// The numbers and names of these entities.
    ///
    /// # Errors
    /// The database failed.
    pub async fn entities_within(&self, entities: &Scope) -> Result<Vec<(EntityId, String)>, StoreError> {
        let mut args = Vec::new();
        let within = subquery(entities, &mut args).map_or(String::new(), |it| format!(" where entity_id in {it}"));
        args.push(LIST_ROWS_MAX.into());
        let sql = format!("select entity_id, name from entity{within} order by entity_id limit ${}", args.len());
        let rows = self.rows(Statement::new(sql, args)).await?;
        Ok(rows.iter().map(|row| (EntityId(row.int("entity_id")), row.text("name"))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(bases: &[(i64, bool)]) -> Scope {
        Scope::Entities(bases.iter().map(|it| (EntityId(it.0), it.1)).collect())
    }

    #[test]
    fn scopes_become_subqueries() {
        let check = |bases: &[(i64, bool)], words: &[&str], count: usize| {
            let mut args = vec![Value::Int(None)];
            let sql = subquery(&scope(bases), &mut args).unwrap();
            assert!(words.iter().all(|it| sql.contains(it)), "{sql}");
            assert_eq!(args.len(), count);
        };
        check(&[], &["1 = 0"], 1);
        check(&[(3, false)], &["in ($2)"], 2);
        check(&[(3, false), (4, true), (5, true)], &["in ($2, $3)", "in ($4)", "recursive"], 4);
        assert_eq!(subquery(&Scope::Everything, &mut Vec::new()), None);
    }

    #[test]
    fn what_is_shared_from_above_is_seen_from_below() {
        let check = |bases: &[(i64, bool)], from_below: &str, words: &[&str], count: usize| {
            let mut args = vec![Value::Int(None)];
            let sql = condition("x in {scope}", from_below, &scope(bases), &mut args).unwrap();
            assert!(words.iter().all(|it| sql.contains(it)) && !sql.contains('{'), "{sql}");
            assert_eq!(args.len(), count);
        };
        let shared = "shared and x in {above}";
        check(&[(3, false)], "", &["x in (select entity_id from entity where entity_id in ($2))"], 2);
        check(&[(3, false)], shared, &["(x in (select", ") or (shared and x in (with recursive above", "in ($3)"], 3);
        check(&[(3, false), (4, true)], shared, &["in ($2)", "in ($3)", "in ($4, $5)"], 5);
        check(&[], shared, &["parent_id is not null and 1 = 0"], 1);
        assert_eq!(condition("x in {scope}", shared, &Scope::Everything, &mut Vec::new()), None);
    }
}
