//! Whom the people of a tenant ask, and where their agent comes from (spec/admin.md §5).

/// Support contacts and download address. An empty field is inherited.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct HelpDesk {
    /// Name.
    pub name: String,
    /// Phone.
    pub phone: String,
    /// Web site.
    pub website: String,
    /// E-mail.
    pub email: String,
    /// Postal address.
    pub address: String,
    /// Where the agent is downloaded.
    pub download_url: String,
}

impl HelpDesk {
    /// Each field of the first level that has one; the tenant itself comes first, the configuration last.
    pub fn inherited(levels: impl IntoIterator<Item = HelpDesk>) -> HelpDesk {
        levels.into_iter().fold(HelpDesk::default(), |near, far| HelpDesk {
            name: nearer(near.name, far.name),
            phone: nearer(near.phone, far.phone),
            website: nearer(near.website, far.website),
            email: nearer(near.email, far.email),
            address: nearer(near.address, far.address),
            download_url: nearer(near.download_url, far.download_url),
        })
    }
}

fn nearer(near: String, far: String) -> String {
    if near.is_empty() { far } else { near }
}

/// The address, if it is one that a link may lead to; anything else (`javascript:` above all) is shown as text only.
pub fn web_link(address: &str) -> &str {
    let scheme = address.get(..8).unwrap_or(address).to_ascii_lowercase();
    if scheme.starts_with("https://") || scheme.starts_with("http://") { address } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_fields_come_from_the_nearest_level_that_has_them() {
        let own = HelpDesk { phone: "1".into(), ..HelpDesk::default() };
        let parent = HelpDesk { name: "IT".into(), phone: "2".into(), ..HelpDesk::default() };
        let configured = HelpDesk { name: "All".into(), email: "a@b".into(), ..HelpDesk::default() };
        let all = HelpDesk::inherited([own, parent, configured]);
        assert_eq!((all.name.as_str(), all.phone.as_str(), all.email.as_str()), ("IT", "1", "a@b"));
        assert_eq!(all.website, "");
    }

    #[test]
    fn only_web_addresses_become_links() {
        for (address, is_link) in [
            ("https://x", true),
            ("HTTP://x", true),
            ("javascript:alert(1)", false),
            ("x.example", false),
            ("", false),
            ("é", false),
        ] {
            assert_eq!(!web_link(address).is_empty(), is_link, "{address}");
        }
    }
}
