//! Who asks, and what he may: one table of routes with the least role and what the request is about. A route without a row is nobody's.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{MatchedPath, RawPathParams, Request, State, rejection::RawPathParamsRejection},
    http::{Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::error::Error;
use crate::{
    flows::{
        Flows,
        audit::{Actor, on_behalf},
        tokens::Admin,
    },
    http::visitor,
    ids::EntityId,
    mdm::{
        audit::{ActorKind, Subject},
        rights::Profile,
    },
    store::items::Purpose,
};

/// Who asks, for handlers.
pub type Who = Extension<Arc<Admin>>;

/// What a request is about, as far as tokens of one tenant are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// Nothing that belongs to somebody.
    Nothing,
    /// The whole server: not for tokens of one tenant.
    Server,
    /// The handler shows and takes only what the asker sees.
    Asked,
    /// The thing with this number in the path.
    Item(Subject),
}

/// Method, path, least role, and what it is about.
pub struct Rule(pub Method, pub &'static str, pub Profile, pub About);

use About::{Asked, Item, Nothing, Server};
use Profile::{Administrator, Operator, Viewer};
use Subject::{Agent, Command, Entity, File, Fleet, Invitation, Package, Task};

/// Every route of the admin API.
#[rustfmt::skip]
pub const RULES: &[Rule] = &[
    Rule(Method::GET,    "/entities",                  Viewer,        Asked),
    Rule(Method::POST,   "/entities",                  Administrator, Asked),
    Rule(Method::GET,    "/entities/{id}",             Viewer,        Item(Entity)),
    Rule(Method::PATCH,  "/entities/{id}",             Administrator, Item(Entity)),
    Rule(Method::DELETE, "/entities/{id}",             Administrator, Item(Entity)),
    Rule(Method::GET,    "/entities/{id}/settings",    Viewer,        Item(Entity)),
    Rule(Method::PATCH,  "/entities/{id}/settings",    Administrator, Item(Entity)),
    Rule(Method::GET,    "/fleets",                    Viewer,        Asked),
    Rule(Method::POST,   "/fleets",                    Administrator, Asked),
    Rule(Method::GET,    "/fleets/{id}",               Viewer,        Item(Fleet)),
    Rule(Method::PATCH,  "/fleets/{id}",               Administrator, Item(Fleet)),
    Rule(Method::DELETE, "/fleets/{id}",               Administrator, Item(Fleet)),
    Rule(Method::GET,    "/invitations",               Viewer,        Asked),
    Rule(Method::POST,   "/invitations",               Operator,      Asked),
    Rule(Method::POST,   "/invitations/csv",           Operator,      Server),
    // Its deeplink lets a device in.
    Rule(Method::GET,    "/invitations/{id}",          Operator,      Item(Invitation)),
    Rule(Method::DELETE, "/invitations/{id}",          Operator,      Item(Invitation)),
    Rule(Method::POST,   "/invitations/{id}/resend",   Operator,      Item(Invitation)),
    Rule(Method::POST,   "/import/flyve",              Administrator, Server),
    Rule(Method::POST,   "/import",                    Administrator, Server),
    Rule(Method::GET,    "/accounts",                  Viewer,        Server),
    Rule(Method::POST,   "/accounts",                  Administrator, Server),
    Rule(Method::GET,    "/accounts/{name}",           Viewer,        Server),
    Rule(Method::DELETE, "/accounts/{name}",           Administrator, Server),
    Rule(Method::GET,    "/users",                     Viewer,        Server),
    Rule(Method::POST,   "/users",                     Administrator, Server),
    Rule(Method::GET,    "/users/{who}",               Viewer,        Server),
    Rule(Method::PATCH,  "/users/{who}",               Administrator, Server),
    Rule(Method::DELETE, "/users/{who}",               Administrator, Server),
    Rule(Method::POST,   "/users/{who}/tokens",        Administrator, Server),
    Rule(Method::DELETE, "/users/{who}/tokens",        Administrator, Server),
    Rule(Method::GET,    "/agents",                    Viewer,        Asked),
    Rule(Method::GET,    "/agents/{id}",               Viewer,        Item(Agent)),
    Rule(Method::PATCH,  "/agents/{id}",               Operator,      Item(Agent)),
    Rule(Method::DELETE, "/agents/{id}",               Administrator, Item(Agent)),
    Rule(Method::POST,   "/agents/{id}/commands",      Operator,      Item(Agent)),
    Rule(Method::DELETE, "/agents/{id}/unenrollment",  Operator,      Item(Agent)),
    Rule(Method::GET,    "/messages",                  Viewer,        Asked),
    Rule(Method::GET,    "/policies",                  Viewer,        Nothing),
    Rule(Method::GET,    "/policies/{symbol}",         Viewer,        Nothing),
    Rule(Method::GET,    "/tasks",                     Viewer,        Asked),
    Rule(Method::POST,   "/tasks",                     Operator,      Asked),
    Rule(Method::GET,    "/tasks/{id}",                Viewer,        Item(Task)),
    Rule(Method::PATCH,  "/tasks/{id}",                Operator,      Item(Task)),
    Rule(Method::DELETE, "/tasks/{id}",                Operator,      Item(Task)),
    Rule(Method::GET,    "/commands",                  Viewer,        Asked),
    Rule(Method::GET,    "/commands/{id}",             Viewer,        Item(Command)),
    Rule(Method::DELETE, "/commands/{id}",             Operator,      Item(Command)),
    Rule(Method::GET,    "/certificates",              Viewer,        Server),
    Rule(Method::DELETE, "/certificates",              Administrator, Server),
    Rule(Method::GET,    "/certificates/{serial}",     Viewer,        Server),
    Rule(Method::DELETE, "/certificates/{serial}",     Operator,      Server),
    Rule(Method::GET,    "/files",                     Viewer,        Asked),
    Rule(Method::POST,   "/files",                     Operator,      Asked),
    Rule(Method::GET,    "/files/{id}",                Viewer,        Item(File)),
    Rule(Method::PATCH,  "/files/{id}",                Operator,      Item(File)),
    Rule(Method::PUT,    "/files/{id}/content",        Operator,      Item(File)),
    Rule(Method::DELETE, "/files/{id}",                Operator,      Item(File)),
    Rule(Method::GET,    "/packages",                  Viewer,        Asked),
    Rule(Method::POST,   "/packages",                  Operator,      Asked),
    Rule(Method::GET,    "/packages/{id}",             Viewer,        Item(Package)),
    Rule(Method::PATCH,  "/packages/{id}",             Operator,      Item(Package)),
    Rule(Method::PUT,    "/packages/{id}/content",     Operator,      Item(Package)),
    Rule(Method::DELETE, "/packages/{id}",             Operator,      Item(Package)),
    Rule(Method::GET,    "/paths",                     Viewer,        Nothing),
    Rule(Method::POST,   "/paths",                     Administrator, Server),
    Rule(Method::DELETE, "/paths/{id}",                Administrator, Server),
    Rule(Method::GET,    "/audit",                     Administrator, Server),
    Rule(Method::GET,    "/audit/verify",              Administrator, Server),
    Rule(Method::GET,    "/tokens",                    Administrator, Server),
    Rule(Method::POST,   "/tokens",                    Administrator, Server),
    Rule(Method::DELETE, "/tokens/{name}",             Administrator, Server),
];

/// What the guard of the admin API works with.
#[derive(Clone)]
pub struct Guard {
    pub flows: Arc<Flows>,
    /// The first administrator's token, of the data directory; `None`: only tokens with a name get in.
    pub first: Option<Arc<str>>,
}

/// Lets a request in whose token is good for it, and has everything that it does written down under the name of the token.
pub async fn authorize(
    State(guard): State<Guard>,
    path: Option<MatchedPath>,
    params: Result<RawPathParams, RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    // The request itself cannot be shared while something is waited for.
    let (token, method) = (bearer(&request), request.method().clone());
    let admin = match guard.admin(&token).await {
        Ok(admin) => Arc::new(admin),
        Err(refused) => return refused.into_response(),
    };
    if let Err(refused) = guard.check(&admin, path.as_ref(), params.as_ref().ok(), &method).await {
        return refused.into_response();
    }
    let kind = if admin.is_first { ActorKind::Administrator } else { ActorKind::Token };
    let peer = visitor::peer(request.extensions()).map(|it| it.to_string()).unwrap_or_default();
    let actor = Actor { kind, name: admin.name.clone(), peer };
    request.extensions_mut().insert(admin);
    on_behalf(actor, next.run(request)).await
}

fn bearer(request: &Request) -> Zeroizing<String> {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    Zeroizing::new(given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default().trim().to_owned())
}

impl Guard {
    async fn admin(&self, given: &str) -> Result<Admin, Error> {
        if self.first.as_ref().is_some_and(|it| bool::from(it.as_bytes().ct_eq(given.as_bytes()))) {
            return Ok(Admin::first());
        }
        self.flows.admin_of(given).await?.ok_or_else(Error::unauthorized)
    }

    async fn check(
        &self,
        admin: &Admin,
        path: Option<&MatchedPath>,
        params: Option<&RawPathParams>,
        method: &Method,
    ) -> Result<(), Error> {
        let Some(path) = path else { return Ok(()) }; // no such resource, which the router says
        let path = path.as_str().strip_prefix("/api/v1").unwrap_or(path.as_str());
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        let Some(rule) = RULES.iter().find(|rule| rule.0 == *method && rule.1 == path) else {
            // A method that the path does not know is answered by the router.
            let is_known = RULES.iter().any(|rule| rule.1 == path);
            return if is_known { Ok(()) } else { Err(Error::forbidden("no role may do this".into())) };
        };
        let Rule(_, _, least, about) = rule;
        if admin.role < *least {
            return Err(Error::forbidden(format!(
                "this needs the role {}; the token {} has the role {}",
                least.as_str(),
                admin.name,
                admin.role.as_str()
            )));
        }
        match about {
            Nothing | Asked => Ok(()),
            Server if admin.sees_everything() => Ok(()),
            Server => Err(Error::forbidden(format!("this needs a token of all entities, which {} is not", admin.name))),
            Item(subject) => {
                let purpose = if *method == Method::GET { Purpose::Looking } else { Purpose::Changing };
                let id = params.and_then(|it| it.iter().next()).and_then(|(_, it)| it.parse::<i64>().ok());
                match id {
                    Some(id) => self.flows.must_see(admin, purpose, *subject, id).await?.map_err(Error::from),
                    None => Ok(()), // what is no number is refused by its handler
                }
            }
        }
    }
}

/// What a request names must be the asker's; else it is as if it were absent.
pub fn must_be_seen(admin: &Admin, entity: EntityId) -> Result<(), Error> {
    if admin.sees(entity) { Ok(()) } else { Err(Error::absent(format!("there is no entity {entity}"))) }
}

/// The entity that something is added to: the root where none is named, which not every token is good for.
pub fn whose(admin: &Admin, named: Option<EntityId>) -> Result<EntityId, Error> {
    match named {
        None if !admin.sees(EntityId::ROOT) => {
            Err(Error::absent(format!("the token {} is not for entity 0: name its own (--entity)", admin.name)))
        }
        _ => {
            let entity = named.unwrap_or(EntityId::ROOT);
            must_be_seen(admin, entity).map(|()| entity)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_route_has_one_rule_and_every_rule_a_route() {
        let routes: BTreeSet<(String, String)> = crate::http::openapi::admin_endpoints()
            .map(|(method, path)| (method.to_uppercase(), path.trim_start_matches("/api/v1").to_owned()))
            .collect();
        let rules: BTreeSet<(String, String)> =
            RULES.iter().map(|it| (it.0.as_str().to_owned(), it.1.to_owned())).collect();
        assert_eq!(rules.len(), RULES.len(), "a route has two rules");
        assert_eq!(routes, rules, "routes (left, as /openapi.json knows them) and rules (right)");
    }

    #[test]
    fn viewers_only_look_and_operators_arrange_nothing() {
        for Rule(method, path, least, about) in RULES {
            assert!(*method == Method::GET || *least > Viewer, "{method} {path}");
            assert!(*about != Nothing || *method == Method::GET, "{method} {path}");
            let is_item = matches!(about, Item(_));
            assert!(is_item || *about == Server || !path.contains("{id}"), "{method} {path}");
            assert!(!is_item || path.contains("{id}"), "{method} {path}");
        }
    }
}
