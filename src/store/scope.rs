//! The entities of a session as a piece of SQL.

use super::db::Value;
use crate::mdm::rights::Scope;

/// A subquery of the numbers of the entities, `None` for all of them. Its arguments are added to those of the statement.
pub(super) fn subquery(scope: &Scope, args: &mut Vec<Value>) -> Option<String> {
    let Scope::Entities(bases) = scope else { return None };
    let mut list = |is_recursive: bool| {
        let mut placeholders = String::new();
        for (entity, _) in bases.iter().filter(|it| it.1 == is_recursive) {
            args.push(Value::Int(Some(entity.0)));
            placeholders.push_str(if placeholders.is_empty() { "$" } else { ", $" });
            placeholders.push_str(&args.len().to_string());
        }
        placeholders
    };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::EntityId;

    #[test]
    fn scopes_become_subqueries() {
        let check = |bases: &[(i64, bool)], words: &[&str], count: usize| {
            let mut args = vec![Value::Int(None)];
            let scope = Scope::Entities(bases.iter().map(|it| (EntityId(it.0), it.1)).collect());
            let sql = subquery(&scope, &mut args).unwrap();
            assert!(words.iter().all(|it| sql.contains(it)), "{sql}");
            assert_eq!(args.len(), count);
        };
        check(&[], &["1 = 0"], 1);
        check(&[(3, false)], &["in ($2)"], 2);
        check(&[(3, false), (4, true), (5, true)], &["in ($2, $3)", "in ($4)", "recursive"], 4);
        assert_eq!(subquery(&Scope::Everything, &mut Vec::new()), None);
    }
}
