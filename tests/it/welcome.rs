//! The page behind a deeplink, as a browser gets it.

use reqwest::header::HeaderMap;

use crate::support::{Server, enrollment, sqlite};

struct Page {
    status: u16,
    headers: HeaderMap,
    html: String,
}

async fn open(server: &Server, path: &str) -> Page {
    let answer = reqwest::get(format!("{}{path}", server.http_url())).await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let page = Page { status, headers, html: unescaped(answer).await };
    let header = |name: &str| page.headers.get(name).map_or("", |it| it.to_str().unwrap());
    assert_eq!(header("content-type"), "text/html; charset=utf-8", "{path}");
    assert_eq!(header("cache-control"), "no-store", "{path}");
    assert_eq!(header("referrer-policy"), "no-referrer", "{path}");
    assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
    assert!(header("content-security-policy").starts_with("default-src 'none'; style-src 'sha256-"), "{path}");
    for forbidden in ["<script", "javascript:", "src=\"http", "<link", "@import", "url(", " style=", " onload"] {
        assert!(!page.html.contains(forbidden), "{forbidden}: {}", page.html);
    }
    page
}

/// Slashes are escaped, which changes nothing for readers.
async fn unescaped(answer: reqwest::Response) -> String {
    answer.text().await.unwrap().replace("&#x2f;", "/")
}

fn data(deeplink: &str) -> String {
    deeplink.split_once("data=").unwrap().1.to_owned()
}

#[tokio::test]
async fn the_invited_person_finds_the_button_the_code_and_whom_to_ask() {
    let public = "https://mdm.example.com/glpi/apirest.php";
    let mut server = Server::with(&[
        ("MDMQ_HTTP__PUBLIC_URL", public),
        ("MDMQ_ENROLLMENT__DEEPLINK_PREFIX", "https://mdm.example.com/welcome/"),
        ("MDMQ_ENROLLMENT__SUPPORT_NAME", "Configured desk"),
    ])
    .await;
    server.cli(&["entity", "add", "Paris", "--id", "76"]).await;
    server.cli(&["entity", "add", "Office", "--id", "77", "--parent", "76"]).await;
    assert!(server.stop().await.success());
    sqlite::execute(
        &server,
        "update entity set support_name = '<script>alert(1)</script>', support_website = 'javascript:alert(2)', \
         download_url = 'https://apps.example.com/a?b=1&c=2' where entity_id = 76",
    )
    .await;
    sqlite::execute(&server, "update entity set support_phone = '+33 1 23' where entity_id = 77").await;
    server.start_again().await;
    let invited = server.cli(&["invite", "--email", "ann@example.com", "--entity", "77"]).await;
    let link = invited["deeplink"].as_str().unwrap();
    assert!(link.starts_with("https://mdm.example.com/welcome/?data="), "{link}");

    for path in ["/deeplink/", "/deeplink", "/welcome/", "/welcome", "/glpi/apirest.php/deeplink/"] {
        let answer = reqwest::get(format!("{}{path}?data={}", server.http_url(), data(link))).await.unwrap();
        let html = unescaped(answer).await;
        assert!(html.contains(&format!("href=\"flyve://register?data={}\"", data(link))), "{path}: {html}");
        assert!(html.contains("<svg") && html.contains("Enroll this device"), "{html}");
        assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "escaped: {html}");
        assert!(!html.contains("<script") && !html.contains("href=\"javascript"), "{html}");
        assert!(html.contains("+33 1 23") && html.contains("a?b=1&amp;c=2"), "inherited: {html}");
    }
}

#[tokio::test]
async fn the_holder_of_the_link_learns_how_it_stands_and_nobody_else() {
    let mut server = Server::start().await;
    let mut links = Vec::new();
    for serial in ["FRESH", "USED", "OLD"] {
        let invited = server.cli(&["invite", "--email", &format!("{serial}@example.com")]).await;
        let text = |name: &str| invited[name].as_str().unwrap().to_owned();
        let invitation = enrollment::Invitation {
            user_token: text("user_token"),
            invitation_token: text("invitation_token"),
            email: format!("{}@example.com", serial.to_lowercase()),
        };
        if serial == "USED" {
            enrollment::enroll_with(&server, serial, &enrollment::Profile::android(), &invitation).await;
        }
        links.push((data(&text("deeplink")), invitation));
    }
    assert!(server.stop().await.success());
    sqlite::execute(&server, "update invitation set expires_at = 1 where invitation_id = 3").await;
    server.start_again().await;

    let at = |data: &str| format!("/deeplink/?data={data}");
    let fresh = open(&server, &at(&links[0].0)).await;
    assert_eq!(fresh.status, 200);
    assert!(fresh.html.contains("flyve://register?data=") && fresh.html.contains("<svg"), "{}", fresh.html);
    for (link, words) in [(&links[1].0, "was used"), (&links[2].0, "ran out")] {
        let page = open(&server, &at(link)).await;
        assert_eq!(page.status, 410);
        assert!(page.html.contains(words) && !page.html.contains("flyve://"), "{}", page.html);
    }

    // Half of the tokens prove nothing.
    let mixed = mdmq::mdm::deeplink::Deeplink {
        url: "https://evil.example".into(),
        user_token: links[0].1.user_token.clone(),
        invitation_token: links[1].1.invitation_token.clone(),
        support_name: "Call the thief".into(),
        ..Default::default()
    };
    let page = open(&server, &at(&mixed.payload())).await;
    assert_eq!(page.status, 404);
    // With both tokens the page shows our own words, whatever else the link says.
    let changed = mdmq::mdm::deeplink::Deeplink { invitation_token: links[0].1.invitation_token.clone(), ..mixed };
    let page = open(&server, &at(&changed.payload())).await;
    assert_eq!(page.status, 200);
    assert!(!page.html.contains("thief"), "{}", page.html);
    // It names the port of this start, so it is compared with the page and not with the link from before.
    assert_eq!(app_link(&page.html), app_link(&fresh.html));

    let long = "A".repeat(20_000);
    for damaged in ["", "hello", "%00%ff", "aGVsbG8", "<b>x</b>", long.as_str()] {
        let page = open(&server, &at(damaged)).await;
        assert_eq!(page.status, 400, "{damaged}");
        assert!(page.html.contains("damaged") && !page.html.contains("<b>"), "{}", page.html);
    }
    assert_eq!(open(&server, "/deeplink").await.status, 400);
}

/// The link to the agent that a page shows.
fn app_link(html: &str) -> &str {
    let at = html.find("flyve://register?data=").expect("a link");
    html[at..].split(['"', '<', '\'', ' ']).next().unwrap()
}
