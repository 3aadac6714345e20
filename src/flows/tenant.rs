//! Settings of tenants: what is inherited stays inherited, unless somebody says otherwise (spec/admin.md §5).

use std::{collections::HashMap, iter::successors};

use serde::Serialize;

use super::{Flows, administer::NAME_CHARS_MAX};
use crate::{
    ids::EntityId,
    mdm::help_desk::HelpDesk,
    store::{
        StoreError,
        administer::{Answer, Refused, StoredSettings},
    },
};

/// Days that an invitation may be valid.
const TOKEN_LIFE_DAYS_MAX: i64 = 180;
/// Tenants above one that are asked for what it inherits.
const LEVELS_MAX: usize = 100;
/// Characters of an address or a URL.
const TEXT_CHARS_MAX: usize = 2000;

/// What is to be different, as it came; `None` stays, an empty text is inherited.
#[derive(Debug, Clone, Default)]
pub struct SettingsChange {
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
    /// How long invitations are valid: `P7D`.
    pub token_life: Option<String>,
    /// Agents that may enroll; 0 is no limit.
    pub device_limit: Option<i64>,
}

/// The settings of a tenant as they hold for it.
#[derive(Debug, Clone, Serialize)]
pub struct SettingsView {
    /// Its help desk, with what it inherits.
    #[serde(flatten)]
    pub help_desk: HelpDesk,
    /// The fields that are its own; the others come from above or from the configuration.
    pub own: Vec<&'static str>,
    /// Days that its invitations are valid.
    pub token_life_days: i64,
    /// Agents that may enroll; 0 is no limit.
    pub device_limit: i64,
}

impl Flows {
    /// Whom the people of a tenant ask: its own settings, those above it, the configuration.
    ///
    /// # Errors
    /// The database failed.
    pub async fn help_desk(&self, entity: EntityId) -> Result<HelpDesk, StoreError> {
        Ok(self.help_desks(&[entity]).await?.remove(&entity).unwrap_or_default())
    }

    /// The same of each of these tenants, with one question for all.
    ///
    /// # Errors
    /// The database failed.
    pub async fn help_desks(&self, entities: &[EntityId]) -> Result<HashMap<EntityId, HelpDesk>, StoreError> {
        let told = &self.config.enrollment;
        let configured = HelpDesk {
            name: told.support_name.clone(),
            phone: told.support_phone.clone(),
            website: told.support_website.clone(),
            email: told.support_email.clone(),
            address: told.support_address.clone(),
            download_url: told.download_url.clone(),
        };
        let known = self.store.own_help_desks(entities).await?;
        let shown = |entity: &EntityId| {
            let levels = successors(known.get(entity), |it| it.parent.and_then(|above| known.get(&above)));
            let own = levels.take(LEVELS_MAX).map(|it| it.own.clone());
            (*entity, HelpDesk::inherited(own.chain([configured.clone()])))
        };
        Ok(entities.iter().map(shown).collect())
    }

    /// The settings of a tenant. `None`: there is no such tenant.
    ///
    /// # Errors
    /// The database failed.
    pub async fn settings_of(&self, entity: EntityId) -> Result<Option<SettingsView>, StoreError> {
        let (Some(own), Some((days, limit))) =
            (self.store.own_help_desk(entity).await?, self.store.limits_of(entity).await?)
        else {
            return Ok(None);
        };
        let fields = [
            ("name", &own.name),
            ("phone", &own.phone),
            ("website", &own.website),
            ("email", &own.email),
            ("address", &own.address),
            ("download_url", &own.download_url),
        ];
        let told = &self.config.enrollment;
        Ok(Some(SettingsView {
            help_desk: self.help_desk(entity).await?,
            own: fields.into_iter().filter(|(_, text)| !text.is_empty()).map(|(name, _)| name).collect(),
            token_life_days: days.unwrap_or_else(|| i64::from(told.invitation_life_s.div_ceil(86_400))),
            device_limit: if limit > 0 { limit } else { told.agents_per_entity_max.into() },
        }))
    }

    /// Changes the settings of a tenant.
    ///
    /// # Errors
    /// The database failed.
    pub async fn change_settings(&self, entity: EntityId, change: SettingsChange) -> Answer<()> {
        let days = match change.token_life.as_deref().map(days).transpose() {
            Ok(days) => days,
            Err(refused) => return Ok(Err(refused)),
        };
        if change.device_limit.is_some_and(|it| it < 0) {
            return Ok(Err(Refused::Invalid("the device limit is at least 0, which is no limit".into())));
        }
        let own = self.store.own_help_desk(entity).await?.unwrap_or_default();
        let shown = self.help_desk(entity).await?;
        // Saved as it is shown while it is inherited: it stays inherited.
        let kept = |given: Option<String>, own: &str, shown: &str| match given {
            Some(given) if own.is_empty() && given.trim() == shown => Some(String::new()),
            Some(given) => Some(given.trim().to_owned()),
            None => None,
        };
        let stored = StoredSettings {
            support_name: kept(change.support_name, &own.name, &shown.name),
            support_phone: kept(change.support_phone, &own.phone, &shown.phone),
            support_website: kept(change.support_website, &own.website, &shown.website),
            support_email: kept(change.support_email, &own.email, &shown.email),
            support_address: kept(change.support_address, &own.address, &shown.address),
            download_url: kept(change.download_url, &own.download_url, &shown.download_url),
            token_life_days: days,
            device_limit: change.device_limit,
        };
        if let Err(refused) = check(&stored) {
            return Ok(Err(refused));
        }
        self.store.change_settings(entity, stored).await
    }
}

fn check(settings: &StoredSettings) -> Result<(), Refused> {
    let lines = [&settings.support_name, &settings.support_phone, &settings.support_website, &settings.support_email];
    let texts = [&settings.support_address, &settings.download_url];
    let is_line = |it: &String| it.chars().count() <= NAME_CHARS_MAX && !it.chars().any(char::is_control);
    let is_fine = lines.into_iter().flatten().all(is_line)
        && texts.into_iter().flatten().all(|it| it.chars().count() <= TEXT_CHARS_MAX && !it.contains('\0'));
    if is_fine { Ok(()) } else { Err(Refused::Invalid("a setting is too long or holds control characters".into())) }
}

/// `P7D`.
fn days(text: &str) -> Result<i64, Refused> {
    let digits = text.trim().strip_prefix('P').and_then(|it| it.strip_suffix('D')).unwrap_or_default();
    let days = digits.bytes().all(|it| it.is_ascii_digit()).then(|| digits.parse().ok()).flatten();
    days.filter(|it| (1..=TOKEN_LIFE_DAYS_MAX).contains(it))
        .ok_or_else(|| Refused::Invalid("The agent token life invalid or too long".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_lives_are_days() {
        let check = |text: &str, expected: Option<i64>| assert_eq!(days(text).ok(), expected, "{text}");
        check("P7D", Some(7));
        check("P180D", Some(180));
        for bad in ["P181D", "P0D", "7", "P1M", "PD", "P-1D", "P+1D", ""] {
            check(bad, None);
        }
    }
}
