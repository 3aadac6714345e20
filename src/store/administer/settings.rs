//! Settings of tenants, as rows. An empty text is inherited.

use std::collections::HashMap;

use super::{Answer, absent_entity, int};
use crate::{
    ids::EntityId,
    mdm::{
        audit::{Action, Deed, Subject},
        help_desk::HelpDesk,
        rights::Scope,
    },
    store::{
        Store, StoreError,
        db::{Row, Statement, Value},
        scope,
    },
};

/// What is written; `None` stays.
#[derive(Debug, Clone, Default)]
pub struct StoredSettings {
    /// Help desk: name.
    pub support_name: Option<String>,
    /// Help desk: phone.
    pub support_phone: Option<String>,
    /// Help desk: web site.
    pub support_website: Option<String>,
    /// Help desk: e-mail.
    pub support_email: Option<String>,
    /// Help desk: address.
    pub support_address: Option<String>,
    /// Where the agent is downloaded.
    pub download_url: Option<String>,
    /// Days that an invitation is valid.
    pub token_life_days: Option<i64>,
    /// Agents that may enroll; 0 is no limit.
    pub device_limit: Option<i64>,
}

impl StoredSettings {
    /// The deed with the names of what is changed.
    fn told(&self, deed: Deed) -> Deed {
        deed.with_changed(&[
            ("support_name", self.support_name.is_some()),
            ("support_phone", self.support_phone.is_some()),
            ("support_website", self.support_website.is_some()),
            ("support_email", self.support_email.is_some()),
            ("support_address", self.support_address.is_some()),
            ("download_url", self.download_url.is_some()),
            ("token_life_days", self.token_life_days.is_some()),
            ("device_limit", self.device_limit.is_some()),
        ])
    }
}

/// What a tenant says itself of its help desk, and who is asked for the rest.
#[derive(Debug, Clone)]
pub struct OwnHelpDesk {
    /// The tenant above.
    pub parent: Option<EntityId>,
    /// Its own.
    pub own: HelpDesk,
}

impl Store {
    /// What a tenant says itself of its help desk. `None`: there is no such tenant.
    ///
    /// # Errors
    /// The database failed.
    pub async fn own_help_desk(&self, entity: EntityId) -> Result<Option<HelpDesk>, StoreError> {
        Ok(self.own_help_desks(&[entity]).await?.remove(&entity).map(|it| it.own))
    }

    /// What these tenants and all above them say of their help desks, in one question: each has one row, however many are below it.
    ///
    /// # Errors
    /// The database failed.
    pub async fn own_help_desks(&self, entities: &[EntityId]) -> Result<HashMap<EntityId, OwnHelpDesk>, StoreError> {
        let scope = Scope::Entities(entities.iter().map(|it| (*it, false)).collect());
        let mut args = Vec::new();
        let wanted = scope::condition("entity_id in {scope}", "entity_id in {above}", &scope, &mut args);
        let sql = format!(
            "select entity_id, parent_id, support_name, support_phone, support_website, support_email, support_address, \
             download_url from entity where {}",
            wanted.unwrap_or_else(|| "true".into())
        );
        let read = |row: &Row| {
            let own = HelpDesk {
                name: row.text("support_name"),
                phone: row.text("support_phone"),
                website: row.text("support_website"),
                email: row.text("support_email"),
                address: row.text("support_address"),
                download_url: row.text("download_url"),
            };
            (EntityId(row.int("entity_id")), OwnHelpDesk { parent: row.opt_int("parent_id").map(EntityId), own })
        };
        Ok(self.rows(Statement::new(sql, args)).await?.iter().map(read).collect())
    }

    /// Days that invitations of a tenant are valid (none: as configured), and its device limit (0: as configured).
    ///
    /// # Errors
    /// The database failed.
    pub async fn limits_of(&self, entity: EntityId) -> Result<Option<(Option<i64>, i64)>, StoreError> {
        let question = "select token_life_days, device_limit from entity where entity_id = $1";
        let row = self.row(Statement::new(question, [entity.0.into()])).await?;
        Ok(row.map(|row| (row.opt_int("token_life_days"), row.int("device_limit"))))
    }

    /// Changes the settings of a tenant.
    ///
    /// # Errors
    /// The database failed.
    pub async fn change_settings(&self, entity: EntityId, new: StoredSettings) -> Answer<()> {
        let deed = new.told(Deed::to(Action::EntitySettings, Subject::Entity, entity));
        self.deed(deed, move |tx| {
            Box::pin(async move {
                let changed = tx
                    .execute(Statement::new(
                        "update entity set support_name = coalesce($2, support_name), \
                         support_phone = coalesce($3, support_phone), support_website = coalesce($4, support_website), \
                         support_email = coalesce($5, support_email), support_address = coalesce($6, support_address), \
                         download_url = coalesce($7, download_url), token_life_days = coalesce($8, token_life_days), \
                         device_limit = coalesce($9, device_limit) where entity_id = $1",
                        [
                            int(entity.0),
                            Value::Text(new.support_name),
                            Value::Text(new.support_phone),
                            Value::Text(new.support_website),
                            Value::Text(new.support_email),
                            Value::Text(new.support_address),
                            Value::Text(new.download_url),
                            Value::Int(new.token_life_days),
                            Value::Int(new.device_limit),
                        ],
                    ))
                    .await?;
                Ok(if changed == 0 { Err(absent_entity(entity)) } else { Ok(()) })
            })
        })
        .await
    }
}
