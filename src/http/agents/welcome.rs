//! The page behind a deeplink, for people: no script, nothing from elsewhere, nothing kept.

use std::sync::{Arc, LazyLock};

use axum::{
    Router,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    flows::{
        Flows,
        welcome::{Behind, Welcome},
    },
    mdm::help_desk::{HelpDesk, web_link},
    qr,
};

const TEMPLATE: &str = include_str!("pages/welcome.html");
const STYLE: &str = include_str!("pages/welcome.css");

/// The page allows its own style, known by its hash, and nothing else.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).expect("base64 and words are fine in a header")
});

static PAGES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_template("welcome", TEMPLATE).expect("a test renders the template");
    environment
});

/// What the template shows.
#[derive(Debug, Default, Serialize)]
struct Page {
    title: &'static str,
    style: &'static str,
    status: &'static str,
    sentence: &'static str,
    help_desk: HelpDesk,
    download_link: String,
    website_link: String,
    app_link: String,
    qr_svg: String,
    expires_at: String,
}

#[derive(Deserialize)]
struct Link {
    #[serde(default)]
    data: String,
}

/// The page's routes, with and without a slash at the end.
pub fn router(flows: &Arc<Flows>) -> Router {
    let mut router = Router::new();
    for path in flows.page_paths() {
        router = router.route(&path, get(show)).route(&format!("{path}/"), get(show));
    }
    router.with_state(flows.clone())
}

async fn show(State(flows): State<Arc<Flows>>, link: Result<Query<Link>, QueryRejection>) -> Response {
    let data = link.map(|Query(link)| link.data).unwrap_or_default();
    match flows.behind(&data).await {
        Ok(Behind::NoLink) => {
            let sentence = "The address of this page is incomplete or damaged. Please open the link from your invitation once \
                            more, all of it.";
            page(StatusCode::BAD_REQUEST, "This link is damaged", sentence, HelpDesk::default())
        }
        Ok(Behind::Nobody) => {
            let sentence = "There is no invitation behind this link, or it was taken back. Please ask whoever gave it to you \
                            for another one.";
            page(StatusCode::NOT_FOUND, "This invitation is not known", sentence, HelpDesk::default())
        }
        Ok(Behind::Invitation(it)) => welcome(*it),
        Err(problem) => {
            tracing::error!("cannot show an invitation: {problem}");
            let sentence = "The server cannot look up your invitation right now. Please try again in a few minutes.";
            page(StatusCode::SERVICE_UNAVAILABLE, "Please try again later", sentence, HelpDesk::default())
        }
    }
}

fn welcome(it: Welcome) -> Response {
    let gone = |title, sentence, help_desk| page(StatusCode::GONE, title, sentence, help_desk);
    match it.status {
        "done" => {
            let sentence = "A device was enrolled with it. Each device needs an invitation of its own.";
            gone("This invitation was used", sentence, it.help_desk)
        }
        "expired" => {
            let sentence = "Its time is over. Please ask for another one.";
            gone("This invitation ran out", sentence, it.help_desk)
        }
        status => render(
            StatusCode::OK,
            Page {
                title: "You have been invited to join Flyve MDM",
                status,
                download_link: web_link(&it.help_desk.download_url).to_owned(),
                website_link: web_link(&it.help_desk.website).to_owned(),
                help_desk: it.help_desk,
                app_link: it.app_link,
                qr_svg: qr::svg(&it.deeplink).unwrap_or_default(),
                expires_at: it.expires_at,
                ..Page::default()
            },
        ),
    }
}

fn page(status: StatusCode, title: &'static str, sentence: &'static str, help_desk: HelpDesk) -> Response {
    let website_link = web_link(&help_desk.website).to_owned();
    render(status, Page { title, sentence, website_link, help_desk, ..Page::default() })
}

fn render(status: StatusCode, page: Page) -> Response {
    let page = minijinja::Value::from(minijinja::value::Serde(Page { style: STYLE, ..page }));
    let html = match PAGES.get_template("welcome").and_then(|it| it.render(page)) {
        Ok(html) => html,
        Err(problem) => {
            tracing::error!("cannot render a page: {problem}");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    };
    let fixed = |name: HeaderName, value: &'static str| (name, HeaderValue::from_static(value));
    let headers = [
        fixed(header::CONTENT_TYPE, "text/html; charset=utf-8"),
        fixed(header::CACHE_CONTROL, "no-store"),
        fixed(header::REFERRER_POLICY, "no-referrer"),
        fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        fixed(header::X_FRAME_OPTIONS, "DENY"),
        (header::CONTENT_SECURITY_POLICY, POLICY.clone()),
    ];
    (status, headers, html).into_response()
}
