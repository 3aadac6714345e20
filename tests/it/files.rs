//! Files, packages and paths: how they come in by command line and API, and what becomes of them.

use std::{fs, io::Write};

use serde_json::{Value, json};

use crate::support::{
    Server, apk,
    contents::{World, pattern, refusal, upload_begins, written},
    enrollment::{Http, invite},
    postgres::fresh_database,
    server::rows,
    sqlite, until,
};

#[tokio::test]
async fn files_are_listed_changed_replaced_and_removed() {
    let world = World::new().await;
    let server = &world.server;
    let path = written(server, "manual.pdf", b"first edition");
    let text = path.to_str().unwrap();
    let added = server.cli(&["file", "add", text, "--comment", "for all"]).await;
    assert_eq!(
        (&added["id"], &added["name"], &added["version"], &added["size"]),
        (&json!(1), &json!("manual.pdf"), &json!(1), &json!(13))
    );
    let same = server.cli(&["file", "add", text, "--name", "other.pdf"]).await;
    assert_eq!((&same["name"], &same["sha256"]), (&json!("other.pdf"), &added["sha256"]));
    assert_eq!(world.blobs().len(), 1, "the same content is stored once");

    fs::write(&path, b"second edition!").unwrap();
    let replaced = server.cli(&["file", "update", "1", text]).await;
    assert_eq!(
        (&replaced["version"], &replaced["size"], &replaced["comment"]),
        (&json!(2), &json!(15), &json!("for all"))
    );
    assert_eq!(world.blobs().len(), 2, "the other file still has the old content");
    assert_eq!(world.content(1, "").await.body, b"second edition!");
    assert_eq!(world.content(2, "").await.body, b"first edition");
    assert_eq!(server.cli(&["file", "change", "1", "--name", "book.pdf"]).await["name"], "book.pdf");
    assert_eq!(server.cli(&["file", "show", "1"]).await["comment"], "for all");

    server.cli(&["file", "remove", "2"]).await;
    assert_eq!(world.blobs().len(), 1, "nobody has the old content any more");
    assert_eq!(rows(&server.cli(&["file", "list"]).await).len(), 1);
    assert_eq!(world.content(2, "").await.status, 404);

    for (arguments, words) in [
        (&["file", "show", "2"][..], "there is no file 2"),
        (&["file", "remove", "2"], "there is no file 2"),
        (&["file", "update", "2", text], "there is no file 2"),
        (&["file", "add", "/nowhere/at/all"], "cannot read /nowhere/at/all"),
        (&["file", "add", text, "--entity", "99"], "there is no entity 99"),
        (&["file", "add", text, "--name", "../up"], "the name of a file is not a path"),
        (&["file", "change", "1", "--name", "a/b"], "the name of a file is not a path"),
    ] {
        let complaint = refusal(server, arguments).await;
        assert!(complaint.contains(words) && complaint.trim_end().lines().count() == 1, "{arguments:?}: {complaint}");
    }
    assert_eq!(world.blobs().len(), 1, "what was refused left nothing behind: {:?}", world.blobs());
    server.cli(&["file", "remove", "1"]).await;
    assert!(world.blobs().is_empty(), "{:?}", world.blobs());
}

#[tokio::test]
async fn packages_say_what_they_are() {
    let world = World::new().await;
    let server = &world.server;
    let path = written(server, "probe.apk", &apk::apk("org.example.probe", "1.2.3", 10_203));
    let text = path.to_str().unwrap();
    let added = server.cli(&["package", "add", text, "--name", "Probe of ours"]).await;
    let expected = json!({
        "name": "Probe of ours", "package_name": "org.example.probe", "alias": "Probe", "version": "1.2.3", "version_code": "10203",
        "parse_status": "parsed", "parse_error": "", "dl_filename": "probe.apk", "size": fs::metadata(&path).unwrap().len(),
    });
    for (member, value) in expected.as_object().unwrap() {
        assert_eq!(&added[member], value, "{member}");
    }
    let session = ("Session-Token", world.session.as_str());
    let mut shown = world.get("/PluginFlyvemdmPackage/1", &[session]).await.json();
    for member in ["filename", "filesize", "icon"] {
        assert!(!shown[member].is_null(), "{member}");
        shown.as_object_mut().unwrap().remove(member);
    }
    insta::assert_snapshot!(world.at_usual_port(&format!("{shown:#}")), @r#"
    {
      "alias": "Probe",
      "dl_filename": "probe.apk",
      "entities_id": 0,
      "id": 1,
      "links": [
        {
          "href": "http://localhost:8080/Entity/0",
          "rel": "Entity"
        }
      ],
      "mime_type": "application/vnd.android.package-archive",
      "name": "Probe of ours",
      "package_name": "org.example.probe",
      "parse_status": "parsed",
      "version": "1.2.3",
      "version_code": "10203"
    }
    "#);

    fs::write(&path, "no archive").unwrap();
    let complaint = refusal(server, &["package", "update", "1", text]).await;
    assert!(complaint.contains("the package cannot be read: this is not a zip archive"), "{complaint}");
    assert_eq!(server.cli(&["package", "show", "1"]).await["sha256"], added["sha256"], "the old one stays");
    assert_eq!(world.blobs().len(), 1, "what was refused left nothing behind: {:?}", world.blobs());

    fs::write(&path, apk::apk("org.example.probe", "1.3.0", 10_300)).unwrap();
    let updated = server.cli(&["package", "update", "1", text]).await;
    assert_eq!(
        (&updated["version"], &updated["version_code"], &updated["name"]),
        (&json!("1.3.0"), &json!("10300"), &json!("Probe of ours"))
    );
    assert_eq!(world.blobs().len(), 1, "the old content is gone");

    let upk = written(server, "probe.upk", &apk::zip(&[("inside/probe.apk", &apk::apk("org.example.inner", "7", 7))]));
    let added = server.cli(&["package", "add", upk.to_str().unwrap()]).await;
    assert_eq!((&added["package_name"], &added["dl_filename"]), (&json!("org.example.inner"), &json!("probe.upk")));
    assert_eq!(server.cli(&["package", "change", "2", "--name", "Inner"]).await["name"], "Inner");
    let listed = server.cli(&["package", "list"]).await;
    assert_eq!(rows(&listed).len(), 2);
    assert!(rows(&listed)[0].get("icon").is_none(), "a list carries no pictures");

    let text = written(server, "probe.exe", b"MZ");
    assert!(
        refusal(server, &["package", "add", text.to_str().unwrap()])
            .await
            .contains("Only APK and UPK files are allowed")
    );
    server.cli(&["package", "remove", "1"]).await;
    server.cli(&["package", "remove", "2"]).await;
    assert!(world.blobs().is_empty(), "{:?}", world.blobs());
}

#[tokio::test]
async fn packages_that_cannot_be_read_say_why() {
    let world = World::new().await;
    let bomb = vec![0; 40 << 20];
    let whole = apk::apk("org.example.probe", "1", 1);
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("text.apk", b"hello".to_vec(), "this is not a zip archive"),
        ("cut.apk", whole[..whole.len() / 2].to_vec(), "this is not a zip archive"),
        ("empty.apk", apk::zip(&[("readme", b"x")]), "the archive has no AndroidManifest.xml"),
        ("bomb.apk", apk::zip(&[("AndroidManifest.xml", &bomb)]), "AndroidManifest.xml is larger than it may be"),
        ("name.apk", apk::apk("../../evil", "1", 1), "the manifest does not name a package"),
        ("empty.upk", apk::zip(&[("readme", b"x")]), "the archive has no package inside"),
    ];
    for (name, content, reason) in cases {
        let path = written(&world.server, name, &content);
        let added = world.server.cli(&["package", "add", path.to_str().unwrap()]).await;
        assert_eq!((&added["parse_status"], &added["parse_error"]), (&json!("failed"), &json!(reason)), "{name}");
    }
}

#[tokio::test]
async fn a_crash_leaves_nothing_behind_and_packages_are_read_afterwards() {
    let mut world = World::new().await;
    let path = written(&world.server, "probe.apk", &apk::apk("org.example.probe", "1.2.3", 10_203));
    world.server.cli(&["package", "add", path.to_str().unwrap()]).await;
    world.server.kill_9();
    sqlite::execute(&world.server, "update package set parse_status = 'pending', package_name = '', version = ''")
        .await;
    let blobs = world.server.data_dir().join("blobs");
    fs::create_dir_all(blobs.join("00")).unwrap();
    fs::write(blobs.join("00").join("1".repeat(62)), b"moved, not committed").unwrap();
    let noted = format!("insert into blob_loose (blob_id) values ('00{}')", "1".repeat(62));
    sqlite::execute_text(&world.server, noted).await;
    fs::write(blobs.join("new").join("half"), b"came in half").unwrap();
    world.server.start_again().await;
    assert_eq!(world.blobs().len(), 1, "{:?}", world.blobs());
    until("the package is read", async || {
        world.server.cli(&["package", "show", "1"]).await["parse_status"] == "parsed"
    })
    .await;
    assert_eq!(world.server.cli(&["package", "show", "1"]).await["version"], "1.2.3");
}

#[tokio::test]
async fn uploads_beyond_the_limits_are_refused_and_leave_nothing() {
    let settings = [("MDMQ_FILES__UPLOAD_BYTES_MAX", "1000000"), ("MDMQ_FILES__UPLOADS_MAX", "1")];
    let world = World::with(&settings).await;
    let big = written(&world.server, "big.bin", &pattern(1_000_001));
    let complaint = refusal(&world.server, &["file", "add", big.to_str().unwrap()]).await;
    assert!(complaint.contains("a file has at most 1000000 bytes"), "{complaint}");
    assert!(world.blobs().is_empty(), "{:?}", world.blobs());
    world.file("fits.bin", &pattern(1_000_000)).await;

    // One that stays in the middle takes the only turn; when it hangs up, the turn is free and its bytes are gone.
    let mut half = upload_begins(&world.server, 900_000);
    half.write_all(&pattern(100_000)).unwrap();
    until("the upload has begun", async || world.blobs().len() == 2).await;
    let small = written(&world.server, "small.bin", b"small");
    let complaint = refusal(&world.server, &["file", "add", small.to_str().unwrap()]).await;
    assert!(complaint.contains("1 uploads are coming in already"), "{complaint}");
    drop(half);
    until("the half upload is gone", async || world.blobs().len() == 1).await;
    world.file("small.bin", b"small").await;

    let full = World::with(&[("MDMQ_FILES__FREE_BYTES_MIN", "9000000000000000000")]).await;
    let small = written(&full.server, "small.bin", b"small");
    let complaint = refusal(&full.server, &["file", "add", small.to_str().unwrap()]).await;
    assert!(complaint.contains("the disk has no room"), "{complaint}");
    let (status, _) = full.server.admin("POST", "/api/v1/files", Some(&json!({}))).await;
    assert_eq!(status, 400, "JSON is no upload");
}

#[tokio::test]
async fn paths_are_listed_added_and_removed() {
    let server = Server::start().await;
    let names =
        |listed: &Value| rows(listed).iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&server.cli(&["path", "list"]).await), ["%SDCARD%", "%DOCUMENTS%", "%PHOTOS%", "%MUSIC%"]);
    let added = server.cli(&["path", "add", "%SDCARD%/Manuals", "--comment", "for technicians"]).await;
    let complaint = refusal(&server, &["path", "add", "%SDCARD%/Manuals"]).await;
    assert!(complaint.contains("there already"), "{complaint}");
    server.cli(&["path", "remove", &added["id"].to_string()]).await;
    assert_eq!(server.cli(&["path", "list"]).await.as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn files_work_on_postgres() {
    let url = fresh_database();
    let world = World::with(&[("MDMQ_DATABASE__URL", &url)]).await;
    let server = &world.server;
    let file = world.file("notes.txt", b"some text").await;
    assert_eq!(world.content(file, "bytes=5-").await.body, b"text");
    let path = written(server, "notes.txt", b"other");
    server.cli(&["file", "update", &file.to_string(), path.to_str().unwrap()]).await;
    server.cli(&["file", "change", &file.to_string(), "--name", "n.txt"]).await;
    let guest = invite(server, "GUEST", 0).await;
    let session = Http::of(server).session(&guest.user_token).await;
    let shown = world.get(&format!("/PluginFlyvemdmFile/{file}"), &[("Session-Token", &session)]).await.json();
    assert_eq!((&shown["name"], &shown["version"], &shown["filesize"]), (&json!("n.txt"), &json!(2), &json!(5)));
    let package = written(server, "probe.apk", &apk::apk("org.example.probe", "1.2.3", 10_203));
    let added = server.cli(&["package", "add", package.to_str().unwrap()]).await;
    assert_eq!(added["parse_status"], "parsed");
    assert_eq!(world.get("/PluginFlyvemdmPackage/1", &[("Session-Token", &session)]).await.json()["version"], "1.2.3");
    server.cli(&["path", "add", "%SDCARD%/x"]).await;
    server.cli(&["package", "remove", "1"]).await;
    server.cli(&["file", "remove", &file.to_string()]).await;
    assert!(world.blobs().is_empty(), "{:?}", world.blobs());
}

#[tokio::test]
async fn a_new_version_is_published_again_and_a_removed_one_is_taken_back() {
    let server = Server::start().await;
    let mut phone = server.enrolled("WORKER").await;
    phone.comes_up(&server).await;
    phone.hears("/Command/Subscribe").await;
    let task = async |arguments: &[&str]| {
        let added = server.cli(&[&["task", "add", "--agent", "WORKER"], arguments].concat()).await;
        added["id"].as_i64().unwrap()
    };
    let file = written(&server, "manual.pdf", b"one");
    let file = file.to_str().unwrap();
    server.cli(&["file", "add", file]).await;
    let reading = task(&["--policy", "deployFile", "--file", "1", "--value", "%SDCARD%"]).await;
    let topic = format!("/Policy/deployFile/Task/{reading}");
    assert!(phone.hears(&topic).await.payload.contains(r#""version":"1""#));
    server.cli(&["file", "update", "1", file]).await;
    assert!(phone.hears(&topic).await.payload.contains(r#""version":"2""#));

    let package = written(&server, "probe.apk", &apk::apk("org.example.probe", "1.2.3", 10_203));
    let package_path = package.to_str().unwrap();
    server.cli(&["package", "add", package_path]).await;
    let using = task(&["--policy", "deployApp", "--package", "1"]).await;
    let app_topic = format!("/Policy/deployApp/Task/{using}");
    let heard = phone.hears(&app_topic).await.payload;
    assert!(heard.contains("org.example.probe") && heard.contains("10203"), "{heard}");
    fs::write(&package, apk::apk("org.example.probe", "1.3.0", 10_300)).unwrap();
    server.cli(&["package", "update", "1", package_path]).await;
    let heard = phone.hears(&app_topic).await.payload;
    assert!(heard.contains("10300"), "{heard}");

    server.cli(&["file", "remove", "1"]).await;
    assert!(phone.hears(&topic).await.payload.contains("default"));
    server.cli(&["package", "remove", "1"]).await;
    assert!(phone.hears(&app_topic).await.payload.contains("default"));
}
