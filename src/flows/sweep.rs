//! What ends by itself: commands that nobody answered in time, and removals of policies that no device came to hear; and what is made
//! good because the database failed.

use std::time::Duration;

use tracing::info;

use super::Flows;
use crate::store::StoreError;

impl Flows {
    /// Ends what ran out. To be called every few seconds.
    ///
    /// # Errors
    /// The database failed.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        self.expire_sessions();
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

    fn expire_sessions(&self) {
        let life_s = self.config.mqtt.session_expiry_s;
        if life_s == 0 {
            return;
        }
        let expired = self.hub.expire_sessions(self.clock.now(), Duration::from_secs(life_s.into()));
        if expired > 0 {
            info!("{expired} sessions of service accounts ended, because nobody came back to them");
            self.metrics.sessions_expired.inc_by(expired);
        }
    }
}
