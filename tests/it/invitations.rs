//! Invitations on their way: by mail, again, in bulk, taken back.

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::support::{
    Server,
    enrollment::{self, Http, Invitation, Profile, enroll_with},
    mailbox::{Mailbox, Manners},
    postgres::fresh_database,
    server::rows,
    until, write_private,
};

/// Settings of a server that mails through this port, without TLS.
fn mailing(port: u16) -> Vec<(&'static str, String)> {
    vec![
        ("MDMQ_MAIL__SMTP_HOST", "127.0.0.1".into()),
        ("MDMQ_MAIL__SMTP_PORT", port.to_string()),
        ("MDMQ_MAIL__TLS", "none".into()),
        ("MDMQ_MAIL__FROM", "Example MDM <mdm@example.com>".into()),
        ("MDMQ_MAIL__RETRY_AFTER_S", "1".into()),
        // The port is another one after a restart; links in mails are not.
        ("MDMQ_HTTP__PUBLIC_URL", "http://mdm.example.com".into()),
    ]
}

async fn server(settings: &[(&str, String)]) -> Server {
    Server::with(&settings.iter().map(|(key, value)| (*key, value.as_str())).collect::<Vec<_>>()).await
}

/// The latest invitation.
async fn latest(server: &Server) -> Value {
    rows(&server.cli(&["invitation", "list"]).await)[0].clone()
}

async fn until_mail_is(server: &Server, state: &str) -> Value {
    until(&format!("the mail is {state}"), async || latest(server).await["mail"] == state).await;
    latest(server).await
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn a_mail_carries_text_html_and_a_qr_code_of_the_same_link() {
    let mailbox = Mailbox::open(Manners::default()).await;
    let settings = [
        mailing(mailbox.port),
        vec![
            ("MDMQ_HTTP__PUBLIC_URL", "https://mdm.example.com/api".into()),
            ("MDMQ_ENROLLMENT__SUPPORT_NAME", "Help & <Desk>".into()),
            ("MDMQ_ENROLLMENT__SUPPORT_PHONE", "+33 1 23".into()),
            ("MDMQ_ENROLLMENT__DOWNLOAD_URL", "https://apps.example.com/agent.apk".into()),
        ],
    ]
    .concat();
    let server = server(&settings).await;
    let invite =
        ["invite", "--email", "Ada@Example.com", "--firstname", "Ada", "--lastname", "Lövelace", "--invited-by"];
    let invited = server.cli(&[&invite[..], &["Grace Hopper"]].concat()).await;
    let members: Vec<&String> = invited.as_object().unwrap().keys().collect();
    assert_eq!(members, ["deeplink", "expires_at", "invitation_token", "user_token"]);

    let mail = mailbox.mail(0).await;
    assert_eq!(mail.headers["subject"], "You have been invited to join Flyve MDM");
    assert_eq!(mail.headers["from"], "Example MDM <mdm@example.com>");
    assert_eq!(mail.headers["to"], "Ada Lövelace <ada@example.com>");
    assert_eq!(mail.headers["auto-submitted"], "auto-generated");
    assert_eq!(mail.parts, ["multipart/alternative", "text/plain", "multipart/related", "text/html", "image/png"]);
    let link = invited["deeplink"].as_str().unwrap();
    assert_eq!(mail.qr_code(), link);
    assert!(mail.html.contains(&format!("src=\"cid:{}\"", mail.cid)), "{}", mail.html);
    let data = link.split_once("?data=").unwrap().1;
    let page = format!("https://mdm.example.com/api/deeplink/?data={data}");
    for body in [&mail.text, &mail.html] {
        for words in ["Ada", "Grace Hopper", "+33 1 23", "https://apps.example.com/agent.apk", &page] {
            assert!(body.contains(words), "{words}: {body}");
        }
    }
    assert!(mail.text.contains(link) && mail.text.contains("Help & <Desk>"), "{}", mail.text);
    assert!(mail.html.contains("Help &amp; &lt;Desk&gt;") && !mail.html.contains("<Desk>"), "{}", mail.html);
    let sent = until_mail_is(&server, "sent").await;
    assert_eq!((&sent["mail_attempts"], &sent["mail_error"]), (&json!(1), &json!("")));
    assert!(server.metric("mdm_mails_total").await >= 1.0);
    assert!(!server.log().contains(invited["invitation_token"].as_str().unwrap()), "no token in the log");
}

#[tokio::test]
async fn a_mail_waits_while_the_smtp_server_is_away_also_over_a_restart() {
    let port = free_port();
    let mut server = server(&mailing(port)).await;
    let invited = server.cli(&["invite", "--email", "ann@example.com"]).await;
    until("it was tried in vain", async || latest(&server).await["mail_attempts"].as_i64() > Some(0)).await;
    let waiting = latest(&server).await;
    assert_eq!(waiting["mail"], "queued", "{waiting}");
    assert!(waiting["mail_error"].as_str().unwrap().contains("refused"), "{waiting}");
    assert_eq!(server.metric("mdm_mails_waiting").await, 1.0);

    assert!(server.stop().await.success());
    let mailbox = Mailbox::open(Manners { port, ..Manners::default() }).await;
    server.start_again().await;
    assert_eq!(mailbox.mail(0).await.qr_code(), invited["deeplink"].as_str().unwrap());
    until_mail_is(&server, "sent").await;
    assert_eq!(mailbox.count(), 1);
    assert_eq!(server.metric("mdm_mails_waiting").await, 0.0);
}

#[tokio::test]
async fn a_refused_mail_is_given_up_and_a_resent_one_carries_the_same_token() {
    let recipients = vec!["550 5.1.1 nobody lives here"];
    let mailbox = Mailbox::open(Manners { recipients, ..Manners::default() }).await;
    let server = server(&mailing(mailbox.port)).await;
    let invited = server.cli(&["invite", "--email", "ann@example.com"]).await;
    let failed = until_mail_is(&server, "failed").await;
    assert_eq!(failed["mail_attempts"], 1, "a final answer is not asked for again: {failed}");
    assert!(failed["mail_error"].as_str().unwrap().contains("nobody lives here"), "{failed}");

    let id = failed["id"].to_string();
    assert_eq!(server.cli(&["invitation", "resend", &id]).await["mail"], "queued");
    assert_eq!(mailbox.mail(0).await.qr_code(), invited["deeplink"].as_str().unwrap());
    let sent = until_mail_is(&server, "sent").await;
    assert_eq!(sent["expires_at"], invited["expires_at"]);
    assert_eq!(server.cli(&["invitation", "show", &id]).await["deeplink"], invited["deeplink"]);

    let text = |name: &str| invited[name].as_str().unwrap().to_owned();
    let (user_token, invitation_token) = (text("user_token"), text("invitation_token"));
    let invitation = Invitation { user_token, invitation_token, email: "ann@example.com".into() };
    enroll_with(&server, "MAILED", &Profile::android(), &invitation).await;
    let used = server.cli(&["invitation", "show", &id]).await;
    assert_eq!((&used["status"], &used["deeplink"]), (&json!("done"), &Value::Null));
    assert!(used["log"].to_string().contains("enrolled as agent"), "{used}");
    let again = server.cli_output(&["invitation", "resend", &id]).await;
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("was used"));
}

#[tokio::test]
async fn a_server_that_is_busy_is_asked_again_but_not_for_ever() {
    let mailbox = Mailbox::open(Manners { recipients: vec!["451 later"; 2], ..Manners::default() }).await;
    let server = server(&[mailing(mailbox.port), vec![("MDMQ_MAIL__ATTEMPTS_MAX", "2".into())]].concat()).await;
    server.cli(&["invite", "--email", "ann@example.com"]).await;
    let failed = until_mail_is(&server, "failed").await;
    assert_eq!(failed["mail_attempts"], 2, "{failed}");
    server.cli(&["invite", "--email", "bob@example.com"]).await;
    assert_eq!(mailbox.mail(0).await.headers["to"], "bob@example.com");
}

#[tokio::test]
async fn mail_travels_encrypted_and_with_a_login() {
    let login = Some(("mdmq".to_owned(), "s3cret word".to_owned()));
    let mailbox = Mailbox::open(Manners { starttls: true, login, ..Manners::default() }).await;
    let file = mailbox.ca_file().with_file_name("credentials");
    write_private(&file, "mdmq\ns3cret word\n");
    let secured = [
        ("MDMQ_MAIL__SMTP_HOST", "localhost".to_owned()),
        ("MDMQ_MAIL__TLS", "starttls".into()),
        ("MDMQ_MAIL__CA_FILE", mailbox.ca_file().display().to_string()),
        ("MDMQ_MAIL__CREDENTIALS_FILE", file.display().to_string()),
    ];
    let secure = server(&[mailing(mailbox.port), secured.to_vec()].concat()).await;
    secure.cli(&["invite", "--email", "ann@example.com"]).await;
    assert_eq!(mailbox.mail(0).await.headers["to"], "ann@example.com");
    assert!(!secure.log().contains("s3cret"), "{}", secure.log());

    // A server that offers no STARTTLS gets nothing: not the password, not the invitation.
    let plain = Mailbox::open(Manners::default()).await;
    let strict = server(&[mailing(plain.port), secured.to_vec()].concat()).await;
    strict.cli(&["invite", "--email", "ann@example.com"]).await;
    until("it was tried in vain", async || latest(&strict).await["mail_attempts"].as_i64() > Some(0)).await;
    assert_eq!(plain.count(), 0);
}

#[tokio::test]
async fn where_mail_is_off_or_not_wanted_nothing_is_queued() {
    let off = Server::start().await;
    off.cli(&["invite", "--email", "ann@example.com"]).await;
    let made = latest(&off).await;
    assert_eq!(made["mail"], "none");
    let refused = off.cli_output(&["invitation", "resend", &made["id"].to_string()]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("mail.smtp_host"));

    let mailbox = Mailbox::open(Manners::default()).await;
    let on = server(&mailing(mailbox.port)).await;
    on.cli(&["invite", "--email", "ann@example.com", "--no-mail"]).await;
    assert_eq!(latest(&on).await["mail"], "none");
    on.cli(&["invite", "--email", "bob@example.com"]).await;
    assert_eq!(mailbox.mail(0).await.headers["to"], "bob@example.com");
}

#[tokio::test]
async fn nothing_that_is_typed_can_add_a_header() {
    let server = Server::start().await;
    for email in ["a@b.example\r\nBcc: thief@example.com", "<a@b.example>", "a b@c.example", "a@b@c"] {
        let (status, body) = server.admin("POST", "/api/v1/invitations", Some(&json!({ "email": email }))).await;
        assert_eq!(status, 422, "{email}: {body}");
    }
    for field in ["firstname", "lastname", "phone", "invited_by"] {
        let body = json!({ "email": "a@b.example", field: "x\r\nBcc: thief@example.com" });
        let (status, body) = server.admin("POST", "/api/v1/invitations", Some(&body)).await;
        assert_eq!(status, 422, "{field}: {body}");
    }
    assert!(rows(&server.cli(&["invitation", "list"]).await).is_empty());
}

#[tokio::test]
async fn fifty_people_are_invited_from_a_file_although_some_lines_are_wrong() {
    for settings in [vec![], vec![("MDMQ_DATABASE__URL", fresh_database())]] {
        let server = server(&settings).await;
        server.cli(&["entity", "add", "Paris", "--id", "76"]).await;
        let mut csv = "email,entity,firstname,lastname,phone\n".to_owned();
        for number in 0..50 {
            csv.push_str(&format!(
                "Person{number}@example.com,{},First{number},Last,+33 {number}\n",
                [0, 76][number % 2]
            ));
        }
        csv.push_str("nobody,0,,,\nlost@example.com,99,,,\nPERSON1@example.com,76,,,\nshort@example.com\n,0,,,\n");
        let file = server.data_dir().join("people.csv");
        std::fs::write(&file, &csv).unwrap();
        let output = server.cli_output(&["invite", "--csv", file.to_str().unwrap(), "--json"]).await;
        assert_eq!(output.status.code(), Some(1), "some failed");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(complaint.contains("5 of 55 lines failed"), "{complaint}");
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&told["invited"], &told["failed"]), (&json!(50), &json!(5)));
        let lines = told["lines"].as_array().unwrap();
        assert_eq!(lines[0]["email"], "person0@example.com");
        assert!(lines[..50].iter().all(|it| it["deeplink"].is_string() && it["error"].is_null()), "{told}");
        for (line, words) in [
            (50, "not an e-mail address"),
            (51, "no entity 99"),
            (52, "line 3 already"),
            (53, "1 fields"),
            (54, "not an e-mail address"),
        ] {
            let error = lines[line]["error"].as_str().unwrap();
            assert!(error.contains(words), "{line}: {error}");
        }
        assert_eq!(rows(&server.cli(&["invitation", "list"]).await).len(), 50);
        let paris = server.cli(&["invitation", "list", "--entity", "76", "--status", "pending"]).await;
        assert_eq!(rows(&paris).len(), 25);
        let one = server.cli(&["invitation", "list", "--email", "Person3@example.com"]).await;
        assert_eq!((&rows(&one)[0]["firstname"], &rows(&one)[0]["lastname"]), (&json!("First3"), &json!("Last")));
        let shown = server.cli_output(&["invite", "--csv", file.to_str().unwrap()]).await;
        assert!(String::from_utf8_lossy(&shown.stdout).ends_with("50 invited, 5 failed\n"));

        std::fs::write(&file, "name\nAnn\n").unwrap();
        let refused = server.cli_output(&["invite", "--csv", file.to_str().unwrap()]).await;
        assert_eq!(refused.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("email"));
    }
}

#[tokio::test]
async fn an_invitation_that_was_taken_back_lets_nobody_in() {
    let server = Server::start().await;
    let invited = server.cli(&["invite", "--email", "ann@example.com"]).await;
    let kept = server.cli(&["invite", "--email", "ann@example.com"]).await;
    let id = rows(&server.cli(&["invitation", "list"]).await)[1]["id"].to_string();
    server.cli(&["invitation", "remove", &id]).await;
    let http = Http::of(&server);
    let open = async |invited: &Value| {
        http.get(&format!("/initSession?user_token={}", invited["user_token"].as_str().unwrap()), "").await.0
    };
    assert_ne!(open(&invited).await, 200, "its token opens nothing");
    assert_eq!(open(&kept).await, 200, "the other one still does");
    for verb in ["show", "resend", "remove"] {
        let refused = server.cli_output(&["invitation", verb, &id]).await;
        assert_eq!(refused.status.code(), Some(1), "{verb}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("there is no invitation"), "{verb}");
    }
}

#[tokio::test]
async fn a_server_with_wrong_mail_settings_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    for (key, value, words) in [
        ("MDMQ_MAIL__FROM", "nobody", "mail.from"),
        ("MDMQ_MAIL__CREDENTIALS_FILE", "no/such/file", "mail.credentials_file"),
        ("MDMQ_MAIL__HTML_TEMPLATE_FILE", "no/such/file", "no/such/file"),
        ("MDMQ_MAIL__TLS", "none", "mail.tls"),
    ] {
        let settings =
            [("MDMQ_MAIL__SMTP_HOST", "mail.example.com"), ("MDMQ_MAIL__FROM", "mdm@example.com"), (key, value)];
        let (code, complaint) = crate::support::server::serve_and_fail(dir.path(), &settings).await;
        assert_eq!(code, Some(1), "{complaint}");
        assert!(complaint.contains(words), "{key}: {complaint}");
    }
}

#[tokio::test]
async fn whoever_invites_somebody_has_nothing_to_do_with_his_other_devices() {
    let server = Server::start().await;
    server.cli(&["entity", "add", "theirs", "--id", "1"]).await;
    server.cli(&["entity", "add", "others", "--id", "2"]).await;
    // The same address, invited by two tenants.
    let theirs = enrollment::invite(&server, "ADA", 1).await;
    let others = enrollment::invite(&server, "ADA", 2).await;
    let phone = enroll_with(&server, "ADA", &Profile { entity: 1, ..Profile::android() }, &theirs).await;
    let id = phone.settings["id"].as_i64().unwrap();
    let http = Http::of(&server);
    let (owner, stranger) = (http.session(&theirs.user_token).await, http.session(&others.user_token).await);
    let path = format!("/PluginFlyvemdmAgent/{id}");

    assert_eq!(http.get("/PluginFlyvemdmAgent", &owner).await.1.as_array().unwrap().len(), 1);
    assert_eq!(http.get("/PluginFlyvemdmAgent", &stranger).await, (200, json!([])));
    assert_eq!(http.get(&path, &owner).await.0, 200);
    let (status, body) = http.get(&path, &stranger).await;
    assert_eq!((status, body["mqttpasswd"].is_null()), (401, true), "{body}");
    let (_, entities) = http.get("/getMyEntities", &stranger).await;
    assert_eq!(entities["myentities"], json!([{ "id": 2, "name": "others" }]));

    // One tenant's link and another's invitation do not go together.
    let mixed = Invitation { invitation_token: theirs.invitation_token.clone(), ..others };
    let input = enrollment::enrollment_input("ADA-2", &Profile::android(), &mixed);
    let (status, refused) =
        http.send("POST", "/PluginFlyvemdmAgent", &stranger, Some(&json!({ "input": input }))).await;
    assert_eq!(status, 400, "{refused}");

    // Taking the invitation back takes nothing from the agent, and gives nobody more.
    let made = server.cli(&["invitation", "list"]).await;
    for row in rows(&made) {
        server.cli(&["invitation", "remove", &row["id"].to_string()]).await;
    }
    assert_eq!(http.get(&path, &http.session(&theirs.user_token).await).await.0, 200);
    assert_eq!(http.get(&path, &stranger).await.0, 401);
}
