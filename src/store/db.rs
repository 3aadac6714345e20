//! The two engines, and all that differs between them.

use std::{borrow::Cow, future::Future, pin::Pin};

use super::StoreError;

/// An argument of a statement. The `Option` is inside so that a NULL has a type.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// 64-bit integer; ids and timestamps too.
    Int(Option<i64>),
    /// Boolean.
    Bool(Option<bool>),
    /// Text.
    Text(Option<String>),
}

/// SQL with `$1` placeholders and as many arguments.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// Accepted by both engines.
    pub sql: Cow<'static, str>,
    /// In the order of the placeholders.
    pub args: Vec<Value>,
}

impl Statement {
    /// Pairs SQL with its arguments.
    pub fn new(sql: impl Into<Cow<'static, str>>, args: impl Into<Vec<Value>>) -> Self {
        Self { sql: sql.into(), args: args.into() }
    }
}

/// One row of an answer. Getters panic on a column that the statement does not select or of another type: that is a bug of ours, not input.
pub struct Row {}

impl Row {
    /// Not null.
    pub fn int(&self, _column: &str) -> i64 {
        todo!()
    }
    /// May be null.
    pub fn opt_int(&self, _column: &str) -> Option<i64> {
        todo!()
    }
    /// Not null.
    pub fn text(&self, _column: &str) -> String {
        todo!()
    }
    /// May be null.
    pub fn opt_text(&self, _column: &str) -> Option<String> {
        todo!()
    }
    /// Not null.
    pub fn flag(&self, _column: &str) -> bool {
        todo!()
    }
}

/// The open transaction of the writer.
pub struct Tx {}

/// What a story given to [`super::Store::write`] returns.
pub type Story<'t, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 't>>;

impl Tx {
    /// Runs a statement and says how many rows it touched.
    ///
    /// # Errors
    /// The database refused.
    pub async fn execute(&mut self, _statement: Statement) -> Result<u64, StoreError> {
        todo!()
    }
    /// Runs a question (or a statement with `returning`).
    ///
    /// # Errors
    /// The database refused.
    pub async fn rows(&mut self, _statement: Statement) -> Result<Vec<Row>, StoreError> {
        todo!()
    }
    /// The first row, if any.
    ///
    /// # Errors
    /// The database refused.
    pub async fn row(&mut self, _statement: Statement) -> Result<Option<Row>, StoreError> {
        todo!()
    }
}
