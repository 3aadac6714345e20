//! What ends by itself: commands that nobody answered in time, and removals of policies that no device came to hear; and what is made
//! good because the database failed.

use tracing::info;

use super::Flows;
use crate::store::StoreError;

impl Flows {
    /// Ends what ran out. To be called every few seconds.
    ///
    /// # Errors
    /// The database failed.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        self.settle_presence().await?;
        let expired = self.store.expire_commands(self.clock.now()).await?;
        if !expired.is_empty() {
            info!("{} commands expired unanswered", expired.len());
            self.agents_changed(&expired);
            expired.iter().for_each(|agent| self.commands_settled(*agent));
        }
        let forgotten = self.store.expire_removals(self.clock.now()).await?;
        if forgotten > 0 {
            info!("{forgotten} removals of policies were not heard in time");
        }
        let unheard = self.store.forget_tombstones(self.clock.now()).await?;
        if unheard > 0 {
            info!("{unheard} removed agents never came back to hear that they should leave");
        }
        self.keep_audit().await?;
        self.rotate_messages().await
    }
}
