//! Who may do what: the profiles of people, and how they compare. Values only.

use crate::ids::EntityId;

/// What a person is in a session. Each profile may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// Enrolls own devices and sees nothing else.
    Guest,
    /// Sees everything in the entities of the profile.
    Viewer,
    /// Also commands and moves devices, applies policies, uploads files, invites.
    Operator,
    /// Everything.
    Administrator,
}

/// The number of the profile that agent accounts have; nobody can be given it.
pub const AGENT_PROFILE: i64 = 10;
/// The name of the profile that agent accounts have.
pub const AGENT_PROFILE_TITLE: &str = "Flyve MDM device agent users";

impl Profile {
    /// From the least to the most.
    pub const ALL: [Profile; 4] = [Profile::Guest, Profile::Viewer, Profile::Operator, Profile::Administrator];

    /// As stored and as said on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Profile::Guest => "guest",
            Profile::Viewer => "viewer",
            Profile::Operator => "operator",
            Profile::Administrator => "administrator",
        }
    }

    /// From [`Profile::as_str`].
    pub fn parse(text: &str) -> Option<Profile> {
        Profile::ALL.into_iter().find(|it| it.as_str() == text)
    }

    /// The number in GLPI's API. That of guests is the one in the documents; agents only compare it with itself. The others are
    /// those of GLPI's own profiles that may do about the same.
    pub fn number(self) -> i64 {
        match self {
            Profile::Guest => 9,
            Profile::Viewer => 8,
            Profile::Operator => 3,
            Profile::Administrator => 4,
        }
    }

    /// From [`Profile::number`].
    pub fn numbered(number: i64) -> Option<Profile> {
        Profile::ALL.into_iter().find(|it| it.number() == number)
    }

    /// As GLPI's API shows it.
    pub fn title(self) -> &'static str {
        match self {
            Profile::Guest => "Flyve MDM guest users",
            Profile::Viewer => "Read-Only",
            Profile::Operator => "Admin",
            Profile::Administrator => "Super-Admin",
        }
    }

    /// Whether it works with the items of others.
    pub fn is_staff(self) -> bool {
        self > Profile::Guest
    }
}

/// A profile given to a person on an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// What.
    pub profile: Profile,
    /// Where.
    pub entity: EntityId,
    /// And below it.
    pub is_recursive: bool,
}

/// The entities that a session works in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    Everything,
    /// These, each with those below it where that is said.
    Entities(Vec<(EntityId, bool)>),
}

impl Scope {
    /// Of these grants, or narrowed to one entity of theirs.
    pub fn of(grants: &[Grant], narrowed: Option<(EntityId, bool)>) -> Scope {
        let mut bases: Vec<(EntityId, bool)> = grants.iter().map(|it| (it.entity, it.is_recursive)).collect();
        if let Some(one) = narrowed {
            bases = vec![one];
        }
        if bases.contains(&(EntityId::ROOT, true)) { Scope::Everything } else { Scope::Entities(bases) }
    }
}

/// The least profile that each verb asks for; `None`: nobody may through the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// See.
    pub read: Profile,
    /// Make.
    pub create: Option<Profile>,
    /// Change.
    pub update: Option<Profile>,
    /// Remove.
    pub delete: Option<Profile>,
}

/// What somebody wants to do with an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// See.
    Read,
    /// Make.
    Create,
    /// Change.
    Update,
    /// Remove.
    Delete,
}

impl Rights {
    /// Everybody on the staff sees, nobody changes.
    pub const READ_ONLY: Rights = Rights { read: Profile::Viewer, create: None, update: None, delete: None };

    /// Everybody on the staff sees, this profile does the rest.
    pub const fn changed_by(profile: Profile) -> Rights {
        Rights { read: Profile::Viewer, create: Some(profile), update: Some(profile), delete: Some(profile) }
    }

    /// Whether this profile may.
    pub fn allow(self, profile: Profile, verb: Verb) -> bool {
        let needed = match verb {
            Verb::Read => Some(self.read),
            Verb::Create => self.create,
            Verb::Update => self.update,
            Verb::Delete => self.delete,
        };
        needed.is_some_and(|needed| profile >= needed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_found_by_name_and_number() {
        for profile in Profile::ALL {
            assert_eq!(Profile::parse(profile.as_str()), Some(profile));
            assert_eq!(Profile::numbered(profile.number()), Some(profile));
        }
        assert_eq!(Profile::parse("root"), None);
        assert_eq!(Profile::numbered(AGENT_PROFILE), None);
    }

    #[test]
    fn each_profile_may_what_those_before_it_may() {
        let rights = Rights { update: Some(Profile::Administrator), ..Rights::changed_by(Profile::Operator) };
        let may = |verb| Profile::ALL.map(|profile| rights.allow(profile, verb));
        assert_eq!(may(Verb::Read), [false, true, true, true]);
        assert_eq!(may(Verb::Create), [false, false, true, true]);
        assert_eq!(may(Verb::Update), [false, false, false, true]);
        assert_eq!(Profile::ALL.map(|it| Rights::READ_ONLY.allow(it, Verb::Delete)), [false; 4]);
    }
}
