//! What a start of the server does to the rows of agents.

use super::{Store, StoreError, db::Statement};

/// Bits of a connection number that count connections since the start; the bits above count starts.
pub const CONNECTIONS_PER_START_BITS: u32 = 32;

impl Store {
    /// Nobody is connected yet: for a single node that starts. Says how many a crash had left behind as online.
    ///
    /// # Errors
    /// The database failed.
    pub async fn mark_all_offline(&self) -> Result<u64, StoreError> {
        let off = Statement::new("update agent set is_online = false where is_online", []);
        self.write(move |tx| Box::pin(tx.execute(off))).await
    }

    /// Counts this start of a server and gives its number: the upper half of its connection numbers
    /// ([`CONNECTIONS_PER_START_BITS`]).
    ///
    /// # Errors
    /// The database failed.
    pub async fn start_number(&self) -> Result<i64, StoreError> {
        let count = Statement::new(
            "insert into meta (name, value) values ('starts', 1) \
             on conflict (name) do update set value = meta.value + 1 returning value",
            [],
        );
        let row = self.write(move |tx| Box::pin(tx.row(count))).await?;
        row.map(|row| row.int("value")).ok_or_else(|| StoreError::Database("the start was not counted".into()))
    }
}
