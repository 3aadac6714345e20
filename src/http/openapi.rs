//! The description of every HTTP endpoint (OpenAPI 3.1), served as `/openapi.json` on both listeners. Endpoints of items are derived
//! from the table of their types; the others are rows here, and a test compares them with the routes.

use serde_json::{Map, Value, json};

use crate::{
    mdm::rights::Verb,
    store::items::{ITEM_TYPES, ItemType, Kind},
};

/// An endpoint: method, path, what it does, names of its query parameters.
struct Endpoint(&'static str, &'static str, &'static str, &'static [&'static str]);

/// Sessions, for agents and people alike. The session token travels in the header `Session-Token` or as `session_token`.
#[rustfmt::skip]
const SESSIONS: &[Endpoint] = &[
    Endpoint("get",  "/initSession", "Open a session with a user token, or with login and password", &["user_token", "login", "password"]),
    Endpoint("get",  "/killSession", "Close the session", &[]),
    Endpoint("get",  "/getFullSession", "What the session knows of its owner", &[]),
    Endpoint("post", "/changeActiveProfile", "Work with another profile", &["profiles_id"]),
    Endpoint("get",  "/changeActiveProfile", "Work with another profile, as the first agents ask for it", &["profiles_id"]),
    Endpoint("post", "/changeActiveEntities", "Work with one entity, or with all of the profile", &["entities_id", "is_recursive"]),
    Endpoint("get",  "/getMyProfiles", "The profiles that the session may have", &[]),
    Endpoint("get",  "/getActiveProfile", "The profile that the session works with", &[]),
    Endpoint("get",  "/getMyEntities", "The entities of the active profile", &[]),
    Endpoint("get",  "/getActiveEntities", "The entities that the session works with", &[]),
    Endpoint("get",  "/openapi.json", "This description", &[]),
];

/// What devices and guests do besides reading items.
#[rustfmt::skip]
const DEVICES: &[Endpoint] = &[
    Endpoint("post", "/PluginFlyvemdmAgent", "Enroll the device of an invited person", &[]),
    Endpoint("put",  "/PluginFlyvemdmAgent/{id}", "Report as an agent, or ask for the next certificate with `csr`; command or move one as an operator", &[]),
    Endpoint("post", "/PluginFlyvemdmGeolocation", "Report the own position", &[]),
    Endpoint("put",  "/PluginFlyvemdmTaskstatus/{id}", "Report how far a task got", &[]),
    Endpoint("put",  "/User/{id}", "Change a user; everybody may change own names, phones and addresses", &[]),
];

/// The API of the command line, on the admin listener, with the bearer token of an administrator.
#[rustfmt::skip]
const ADMIN: &[Endpoint] = &[
    Endpoint("get",    "/api/v1/entities", "All tenants", &[]),
    Endpoint("post",   "/api/v1/entities", "A new tenant", &[]),
    Endpoint("get",    "/api/v1/entities/{id}", "One tenant", &[]),
    Endpoint("patch",  "/api/v1/entities/{id}", "Change a tenant", &[]),
    Endpoint("delete", "/api/v1/entities/{id}", "Remove an empty tenant", &[]),
    Endpoint("get",    "/api/v1/entities/{id}/settings", "The settings of an entity, inherited ones included", &[]),
    Endpoint("patch",  "/api/v1/entities/{id}/settings", "Change the settings of an entity; an empty text is inherited", &[]),
    Endpoint("get",    "/api/v1/fleets", "All fleets", &["entity"]),
    Endpoint("post",   "/api/v1/fleets", "A new fleet", &[]),
    Endpoint("get",    "/api/v1/fleets/{id}", "One fleet", &[]),
    Endpoint("patch",  "/api/v1/fleets/{id}", "Change a fleet", &[]),
    Endpoint("delete", "/api/v1/fleets/{id}", "Remove a fleet", &[]),
    Endpoint("get",    "/api/v1/invitations", "Invitations", &["entity", "status", "email"]),
    Endpoint("post",   "/api/v1/invitations", "Invite a person", &[]),
    Endpoint("post",   "/api/v1/invitations/csv", "Invite everybody in a CSV file", &["entity", "mail", "invited_by"]),
    Endpoint("get",    "/api/v1/invitations/{id}", "One invitation", &[]),
    Endpoint("delete", "/api/v1/invitations/{id}", "Take an invitation back", &[]),
    Endpoint("post",   "/api/v1/invitations/{id}/resend", "Send the mail again", &[]),
    Endpoint("post",   "/api/v1/import/flyve", "Take over a GLPI database with Flyve", &[]),
    Endpoint("get",    "/api/v1/accounts", "All service accounts", &[]),
    Endpoint("post",   "/api/v1/accounts", "A new service account", &[]),
    Endpoint("get",    "/api/v1/accounts/{name}", "One service account", &[]),
    Endpoint("delete", "/api/v1/accounts/{name}", "Remove a service account", &[]),
    Endpoint("get",    "/api/v1/users", "All people", &[]),
    Endpoint("post",   "/api/v1/users", "A new person", &[]),
    Endpoint("get",    "/api/v1/users/{who}", "One person", &[]),
    Endpoint("patch",  "/api/v1/users/{who}", "Change a person", &[]),
    Endpoint("delete", "/api/v1/users/{who}", "Remove a person", &[]),
    Endpoint("post",   "/api/v1/users/{who}/tokens", "A new API token, shown once", &[]),
    Endpoint("delete", "/api/v1/users/{who}/tokens", "End all tokens and sessions of a person", &[]),
    Endpoint("get",    "/api/v1/agents", "Agents", &["serial", "entity", "fleet"]),
    Endpoint("get",    "/api/v1/agents/{id}", "One agent", &[]),
    Endpoint("patch",  "/api/v1/agents/{id}", "Move an agent to another fleet or entity", &[]),
    Endpoint("delete", "/api/v1/agents/{id}", "Forget an agent", &[]),
    Endpoint("post",   "/api/v1/agents/{id}/commands", "Command a device", &[]),
    Endpoint("delete", "/api/v1/agents/{id}/unenrollment", "Take the request to leave back", &[]),
    Endpoint("get",    "/api/v1/messages", "What devices said and were told, latest first", &["agent", "before", "limit"]),
    Endpoint("get",    "/api/v1/policies", "What can be set", &[]),
    Endpoint("get",    "/api/v1/policies/{symbol}", "One policy", &[]),
    Endpoint("get",    "/api/v1/tasks", "Tasks", &["fleet", "agent", "policy"]),
    Endpoint("post",   "/api/v1/tasks", "Apply a policy", &[]),
    Endpoint("get",    "/api/v1/tasks/{id}", "One task with its statuses", &[]),
    Endpoint("patch",  "/api/v1/tasks/{id}", "Give a task another value", &[]),
    Endpoint("delete", "/api/v1/tasks/{id}", "Take a task back", &[]),
    Endpoint("get",    "/api/v1/files", "Files for devices", &["entity"]),
    Endpoint("post",   "/api/v1/files", "Upload a file, as multipart with the part `file`", &[]),
    Endpoint("get",    "/api/v1/files/{id}", "One file", &[]),
    Endpoint("patch",  "/api/v1/files/{id}", "Another name or comment for a file", &[]),
    Endpoint("put",    "/api/v1/files/{id}/content", "Upload the next version of a file, as multipart", &[]),
    Endpoint("delete", "/api/v1/files/{id}", "Remove a file and its tasks", &[]),
    Endpoint("get",    "/api/v1/packages", "Applications for devices", &["entity"]),
    Endpoint("post",   "/api/v1/packages", "Upload an application, as multipart with the part `file`", &[]),
    Endpoint("get",    "/api/v1/packages/{id}", "One application", &[]),
    Endpoint("patch",  "/api/v1/packages/{id}", "Another name for an application", &[]),
    Endpoint("put",    "/api/v1/packages/{id}/content", "Upload the next version of an application, as multipart", &[]),
    Endpoint("delete", "/api/v1/packages/{id}", "Remove an application and its tasks", &[]),
    Endpoint("get",    "/api/v1/paths", "Beginnings of paths that files may be deployed to", &[]),
    Endpoint("post",   "/api/v1/paths", "One more beginning of paths", &[]),
    Endpoint("delete", "/api/v1/paths/{id}", "Allow a beginning no longer", &[]),
    Endpoint("get",    "/api/v1/certificates", "Certificates of devices, the latest first", &["serial", "state", "expiring_days"]),
    Endpoint("delete", "/api/v1/certificates", "Revoke everything that the built-in authority signed for devices", &["reason"]),
    Endpoint("get",    "/api/v1/certificates/{serial}", "The certificate with a number, or those of a device", &[]),
    Endpoint("delete", "/api/v1/certificates/{serial}", "Revoke the certificate with a number, or those of a device", &["entity", "reason"]),
    Endpoint("get",    "/api/v1/commands", "Commands", &["serial", "state"]),
    Endpoint("get",    "/api/v1/commands/{id}", "One command", &["wait"]),
    Endpoint("delete", "/api/v1/commands/{id}", "Take a command back", &[]),
    Endpoint("get",    "/api/v1/audit", "Who did what, latest first; with `after` oldest first", &["actor", "action", "serial", "entity", "since", "after", "before", "limit"]),
    Endpoint("get",    "/api/v1/audit/verify", "Whether the audit is whole", &[]),
    Endpoint("get",    "/api/v1/tokens", "Admin tokens", &[]),
    Endpoint("post",   "/api/v1/tokens", "A new admin token, shown once", &[]),
    Endpoint("delete", "/api/v1/tokens/{name}", "End an admin token", &[]),
    Endpoint("post",   "/api/v1/import", "Take over agents from a CSV file", &[]),
];

/// Method and path of each endpoint of the admin API, for the test that compares them with the rules of who may use them.
#[cfg(test)]
pub fn admin_endpoints() -> impl Iterator<Item = (&'static str, &'static str)> {
    ADMIN.iter().map(|it| (it.0, it.1))
}

/// What people see in a browser.
#[rustfmt::skip]
const PAGES: &[Endpoint] = &[
    Endpoint("get", "/deeplink", "The page behind the link of an invitation", &["data"]),
];

/// What whoever verifies certificates of devices needs.
#[rustfmt::skip]
const LISTS: &[Endpoint] = &[
    Endpoint("get", "/crl", "The list of revoked certificates of the authority that signs now, DER", &[]),
    Endpoint("get", "/crl.pem", "The lists of all authorities that are trusted, PEM", &[]),
    Endpoint("get", "/crl/{key_id}", "The list of one authority by the identifier of its key in hexadecimal digits, DER", &[]),
];

/// What monitoring reads on the admin listener, without a token.
#[rustfmt::skip]
const MONITORING: &[Endpoint] = &[
    Endpoint("get", "/metrics", "Counters for Prometheus", &[]),
    Endpoint("get", "/healthz", "Whether the process runs", &[]),
    Endpoint("get", "/readyz", "Whether the database answers", &[]),
];

/// The description. `base` is where agents are told to ask.
pub fn document(base: &str) -> Value {
    let mut paths = Map::new();
    for of in ITEM_TYPES {
        describe_items(of, &mut paths);
    }
    for (group, endpoints, security) in [
        ("sessions", SESSIONS, json!([{"session": []}, {}])),
        ("devices", DEVICES, json!([{"session": []}])),
        ("admin", ADMIN, json!([{"bearer": []}])),
        ("pages", PAGES, json!([])),
        ("certificates", LISTS, json!([])),
        ("monitoring", MONITORING, json!([])),
    ] {
        for it in endpoints {
            add(&mut paths, it.1, it.0, group, it.2, parameters(it.1, it.3), security.clone());
        }
    }
    let schemas: Map<String, Value> = ITEM_TYPES.iter().map(|of| (of.name.to_owned(), schema(of))).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "mdmq",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Sessions, items and reports of devices are on [http] listen, also under /api, /apirest.php and \
                            /glpi/apirest.php; /api/v1 and monitoring are on [admin] listen.",
        },
        "servers": [{"url": base}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "session": {"type": "apiKey", "in": "header", "name": "Session-Token"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    })
}

fn describe_items(of: &ItemType, paths: &mut Map<String, Value>) {
    let (name, title) = (of.name, of.title);
    let session = || json!([{"session": []}]);
    let least = |profile: Option<crate::mdm::rights::Profile>| profile.map_or("nobody", |it| it.as_str());
    let window = ["range", "sort", "order"];
    let list = [&window[..], &["searchText[]", "get_hateoas", "expand_dropdowns"]].concat();
    let find = [&window[..], &["criteria[]", "forcedisplay[]", "uid_cols", "withindexes"]].concat();
    let rights = |verb: Verb| {
        let needed = match verb {
            Verb::Read => Some(of.rights.read),
            Verb::Create => of.rights.create,
            Verb::Update => of.rights.update,
            Verb::Delete => of.rights.delete,
        };
        (needed.is_some(), format!("from profile {} on", least(needed)))
    };
    let mut item = |path: String, method: &str, what: &str, verb: Verb, query: &[&str]| {
        let (is_offered, who) = rights(verb);
        if is_offered {
            add(paths, &path, method, name, &format!("{title}: {what}; {who}"), parameters(&path, query), session());
        }
    };
    item(format!("/{name}"), "get", "a list", Verb::Read, &list);
    // Files and packages are handed out as they are with `alt=media`, or for `Accept: application/octet-stream`.
    let has_content = matches!(name, "PluginFlyvemdmFile" | "PluginFlyvemdmPackage");
    let one: &[&str] =
        if has_content { &["get_hateoas", "expand_dropdowns", "alt"] } else { &["get_hateoas", "expand_dropdowns"] };
    item(format!("/{name}/{{id}}"), "get", "one", Verb::Read, one);
    item(format!("/search/{name}"), "get", "search", Verb::Read, &find);
    item(format!("/listSearchOptions/{name}"), "get", "what can be searched for", Verb::Read, &[]);
    for (above, _) in of.parents {
        item(format!("/{above}/{{id}}/{name}"), "get", "those below one", Verb::Read, &list);
    }
    item(format!("/{name}"), "post", "add one or many", Verb::Create, &[]);
    for path in [format!("/{name}"), format!("/{name}/{{id}}")] {
        item(path.clone(), "put", "change one or many", Verb::Update, &[]);
        item(path.clone(), "patch", "change one or many", Verb::Update, &[]);
        item(path, "delete", "remove one or many", Verb::Delete, &[]);
    }
}

fn add(
    paths: &mut Map<String, Value>,
    path: &str,
    method: &str,
    group: &str,
    summary: &str,
    parameters: Value,
    security: Value,
) {
    let mut operation = json!({
        "tags": [group],
        "summary": summary,
        "parameters": parameters,
        "security": security,
        "responses": {"2XX": {"description": "Done"}, "4XX": {"description": "Refused: a code and a sentence"}},
    });
    if matches!(method, "post" | "put" | "patch") {
        operation["requestBody"] = json!({"content": {"application/json": {"schema": {"type": "object"}}}});
    } else if ITEM_TYPES.iter().any(|it| path == format!("/{}/{{id}}", it.name)) && method == "get" {
        let schema = json!({"$ref": format!("#/components/schemas/{group}")});
        operation["responses"]["2XX"]["content"] = json!({"application/json": {"schema": schema}});
    }
    let operations = paths.entry(path).or_insert_with(|| json!({}));
    operations[method] = operation;
}

fn parameters(path: &str, query: &[&str]) -> Value {
    let named = path.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|it| (it.0, "path"));
    let all = named.chain(query.iter().map(|name| (*name, "query")));
    let one = |(name, place): (&str, &str)| json!({"name": name, "in": place, "required": place == "path", "schema": {"type": "string"}});
    all.map(one).collect()
}

fn schema(of: &ItemType) -> Value {
    let properties: Map<String, Value> = of
        .fields
        .iter()
        .map(|field| {
            let kind = match field.kind {
                Kind::Int | Kind::Flag => json!(["integer", "null"]),
                Kind::Text | Kind::Time => json!(["string", "null"]),
            };
            (field.name.to_owned(), json!({"type": kind}))
        })
        .collect();
    json!({"type": "object", "title": of.title, "properties": properties})
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const ADVICE: &str = "the rows in src/http/openapi.rs and the routes differ";

    /// The texts in quotes that stand in match arms between two marks of a source file.
    fn arms(source: &str, from: &str, to: &str) -> BTreeSet<String> {
        let body = source.split(from).nth(1).and_then(|rest| rest.split(to).next()).unwrap();
        let lines = body.lines().filter(|line| line.trim_start().starts_with('"') && line.contains("=>"));
        lines.map(|line| format!("/{}", line.split('"').nth(1).unwrap())).filter(|path| path != "/").collect()
    }

    #[test]
    fn every_endpoint_of_sessions_and_devices_is_described() {
        let source = include_str!("agents/mod.rs");
        let mut routed = arms(source, "async fn route(", "\n}\n");
        for described_with_the_types in ["/search", "/PluginFlyvemdmFile", "/PluginFlyvemdmPackage"] {
            routed.remove(described_with_the_types);
        }
        let mut described: BTreeSet<String> = SESSIONS.iter().map(|it| it.1.to_owned()).collect();
        let devices = DEVICES.iter().map(|it| it.1.trim_end_matches("/{id}").to_owned());
        let devices: BTreeSet<String> = devices.collect();
        described.extend(routed.intersection(&devices).cloned());
        assert_eq!(routed, described, "{ADVICE}");
    }

    #[test]
    fn every_route_of_the_admin_listener_is_described() {
        let source: String = include_str!("admin/mod.rs").split_whitespace().collect();
        let source = source.split("pubfnrouter(").nth(1).unwrap().split("asyncfn").next().unwrap();
        let (api, rest) = source.split_once(".nest(").unwrap();
        let mut routed = BTreeSet::new();
        for (base, text) in [("/api/v1", api), ("", rest)] {
            for route in text.split(".route(\"").skip(1) {
                let (path, handlers) = route.split_once("\",").unwrap();
                for method in ["get", "post", "put", "patch", "delete"] {
                    if handlers.starts_with(&format!("{method}(")) || handlers.contains(&format!(").{method}(")) {
                        routed.insert(format!("{method} {base}{path}"));
                    }
                }
            }
        }
        routed.remove("get /openapi.json");
        let described = ADMIN.iter().chain(MONITORING).map(|it| format!("{} {}", it.0, it.1)).collect();
        assert_eq!(routed, described, "{ADVICE}");
    }

    #[test]
    fn every_page_is_described() {
        assert!(include_str!("../flows/welcome.rs").contains("{base}/deeplink"), "{ADVICE}");
        let sources = [include_str!("agents/mod.rs"), include_str!("agents/welcome.rs")];
        let routers = sources.iter().map(|it| it.matches(".route(&").count() + it.matches(".route(\"").count());
        assert_eq!(routers.sum::<usize>(), 2 * PAGES.len(), "with and without a slash at the end: {ADVICE}");
    }

    #[test]
    fn the_revocation_list_is_described() {
        let source = include_str!("crl.rs");
        assert_eq!(source.matches("{base}").count(), LISTS.len(), "{ADVICE}");
        for it in LISTS {
            let path = it.1.replace('{', "{{").replace('}', "}}");
            assert!(source.contains(&format!("{{base}}{path}\"")), "{}: {ADVICE}", it.1);
        }
    }

    #[test]
    fn the_description_is_whole() {
        let document = document("http://mdm.example");
        assert_eq!(document["openapi"], "3.1.0");
        assert!(document["paths"]["/PluginFlyvemdmAgent/{id}"]["put"].is_object());
        assert!(document["paths"]["/PluginFlyvemdmFleet/{id}/PluginFlyvemdmAgent"]["get"].is_object());
        assert!(document["paths"]["/PluginFlyvemdmMqttlog"]["post"].is_null(), "nobody writes the log");
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                let named = operation["parameters"].as_array().unwrap().iter().filter(|it| it["in"] == "path").count();
                assert_eq!(named, path.matches('{').count(), "{method} {path}");
                assert!(!operation["summary"].as_str().unwrap().is_empty());
            }
        }
    }
}
