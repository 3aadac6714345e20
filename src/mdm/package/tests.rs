//! Packages as they should be, and as somebody with bad intentions would make them.

use std::io::Cursor;

use proptest::prelude::*;

use super::*;

#[path = "../../../tests/it/support/apk.rs"]
#[allow(dead_code, reason = "the helper serves the black-box tests too")]
mod apk;

use apk::{Config, Held, manifest, resources, zip};

fn read(bytes: &[u8]) -> Result<Facts, Unreadable> {
    read_apk(Cursor::new(bytes), bytes.len() as u64)
}

fn read_with(application: &[(&str, Held)], table: &[(u32, Config, Held)]) -> Facts {
    let manifest = manifest("org.example.app", "1.0", 1, application);
    read(&zip(&[("AndroidManifest.xml", &manifest), ("resources.arsc", &resources(table))])).unwrap()
}

#[test]
fn an_application_says_who_it_is() {
    let facts = read(&apk::apk("org.fdroid.fdroid", "1.20.0", 1_020_050)).unwrap();
    let expected = Facts {
        package_name: "org.fdroid.fdroid".into(),
        version: "1.20.0".into(),
        version_code: "1020050".into(),
        label: "Probe".into(),
        icon: STANDARD.encode(apk::ICON),
    };
    assert_eq!(facts, expected);
}

#[test]
fn what_the_tools_of_android_write_is_understood() {
    let packages: [&[u8]; 2] =
        [include_bytes!("../../../tests/apk/aapt.apk"), include_bytes!("../../../tests/apk/aapt2.apk")];
    for bytes in packages {
        let facts = read(bytes).unwrap();
        assert_eq!(facts.package_name, "org.example.real");
        assert_eq!((facts.version.as_str(), facts.version_code.as_str()), ("4.2-beta", "42"));
        assert_eq!(facts.label, "Réal näme");
        let icon = STANDARD.decode(facts.icon).unwrap();
        assert_eq!(icon.get(16..24), Some(&[0, 0, 0, 96, 0, 0, 0, 96][..]), "the denser of the two");
    }
}

#[test]
fn endings_say_what_a_file_is() {
    assert_eq!(Kind::of("app.apk"), Some(Kind::Apk));
    assert_eq!(Kind::of("App.v2.UPK"), Some(Kind::Upk));
    for no in ["app", "apk", "app.apk.txt", "app.zip", ""] {
        assert_eq!(Kind::of(no), None, "{no}");
    }
}

#[test]
fn a_upk_holds_an_apk() {
    let inner = apk::apk("org.example.inner", "2", 2);
    let upk = zip(&[("readme.txt", b"hello"), ("content/App.APK", &inner)]);
    let mut out = Vec::new();
    assert_eq!(unwrap_upk(Cursor::new(&upk), upk.len() as u64, &mut out), Ok(inner.len() as u64));
    assert_eq!(read(&out).unwrap().package_name, "org.example.inner");
    let empty = zip(&[("readme.txt", b"hello")]);
    let missing = Err(Unreadable::Missing("package inside"));
    assert_eq!(unwrap_upk(Cursor::new(&empty), empty.len() as u64, &mut Vec::new()), missing);
}

#[test]
fn labels_stand_in_the_manifest_or_behind_references() {
    let label = |held| [("label", held)];
    let plain = Config::default();
    let id = 0x7f01_0003;
    assert_eq!(read_with(&label(Held::Text("Plain")), &[]).label, "Plain");
    assert_eq!(read_with(&label(Held::Reference(id)), &[(id, plain, Held::Text("Résumé"))]).label, "Résumé");
    let chain = [(id, plain, Held::Reference(0x7f01_0001)), (0x7f01_0001, plain, Held::Text("Behind"))];
    assert_eq!(read_with(&label(Held::Reference(id)), &chain).label, "Behind");
    let english = Config { language: *b"en", ..plain };
    let german = Config { language: *b"de", ..plain };
    let languages = [(id, german, Held::Text("Uhr")), (id, english, Held::Text("Clock"))];
    assert_eq!(read_with(&label(Held::Reference(id)), &languages).label, "Clock");
    assert_eq!(read_with(&label(Held::Reference(id)), &[(id, german, Held::Text("Uhr"))]).label, "Uhr");
    assert_eq!(read_with(&label(Held::Number(42)), &[]).label, "42");
    assert_eq!(read_with(&[], &[]).label, "");
}

#[test]
fn references_in_a_circle_end() {
    let plain = Config::default();
    let label = [("label", Held::Reference(0x7f01_0000))];
    let itself = [(0x7f01_0000, plain, Held::Reference(0x7f01_0000))];
    assert_eq!(read_with(&label, &itself).label, "");
    let circle =
        [(0x7f01_0000, plain, Held::Reference(0x7f01_0001)), (0x7f01_0001, plain, Held::Reference(0x7f01_0000))];
    assert_eq!(read_with(&label, &circle).label, "");
    assert_eq!(read_with(&label, &[]).label, "", "there is no such resource");
}

#[test]
fn without_a_png_the_icon_is_one_pixel() {
    let icon = [("icon", Held::Reference(0x7f02_0000))];
    let to = |path| [(0x7f02_0000, Config::default(), Held::Text(path))];
    for path in ["res/icon.xml", "res/absent.png", "resources.arsc"] {
        assert_eq!(read_with(&icon, &to(path)).icon, NO_ICON, "{path}");
    }
    assert!(is_png(&STANDARD.decode(NO_ICON).unwrap()));
}

#[test]
fn names_that_no_device_would_install_are_refused() {
    for name in ["", "a/b", "../../etc", ".hidden", "a b", "ünicode"] {
        let manifest = manifest(name, "1.0", 1, &[]);
        assert_eq!(read(&zip(&[("AndroidManifest.xml", &manifest)])), Err(Unreadable::NoName), "{name}");
    }
}

#[test]
fn long_texts_are_cut_and_control_characters_removed() {
    let long: &'static str = Box::leak(format!("a\u{1b}[31m{}", "x".repeat(5000)).into_boxed_str());
    let label = read_with(&[("label", Held::Text(long))], &[]).label;
    assert_eq!(label.chars().count(), TEXT_CHARS_MAX);
    assert!(label.starts_with("a[31mx"), "{label}");
}

#[test]
fn what_is_no_package_says_why() {
    assert_eq!(read(b""), Err(Unreadable::NotZip));
    assert_eq!(read(&[0; 1000]), Err(Unreadable::NotZip));
    assert_eq!(read(&zip(&[("a", b"b")])), Err(Unreadable::Missing("AndroidManifest.xml")));
    assert_eq!(read(&zip(&[("AndroidManifest.xml", b"<manifest/>")])), Err(Unreadable::Manifest));
    let whole = apk::apk("org.example.app", "1", 1);
    assert!(read(&whole[..whole.len() - 30]).is_err());
}

#[test]
fn bombs_are_not_blown_up() {
    let bomb = vec![0; usize::try_from(MANIFEST_BYTES_MAX).unwrap() + 1];
    let bytes = zip(&[("AndroidManifest.xml", &bomb)]);
    assert!(bytes.len() < 100_000, "it is small outside");
    assert_eq!(read(&bytes), Err(Unreadable::TooLarge("AndroidManifest.xml")));
    let manifest = manifest("org.example.app", "1.0", 1, &[("label", Held::Reference(0x7f01_0000))]);
    let table = vec![0; usize::try_from(RESOURCES_BYTES_MAX).unwrap() + 1];
    let bytes = zip(&[("AndroidManifest.xml", &manifest), ("resources.arsc", &table)]);
    assert_eq!(read(&bytes).unwrap().label, "", "it is read without its resources");
}

#[test]
fn an_altered_entry_is_noticed() {
    let mut bytes = zip(&[("AndroidManifest.xml", &manifest("org.example.app", "1.0", 1, &[]))]);
    let middle = 60;
    bytes[middle] ^= 0xff;
    assert!(matches!(read(&bytes), Err(Unreadable::Damaged(_) | Unreadable::Manifest | Unreadable::NoName)));
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = read(&bytes);
        let _ = axml::manifest(&bytes);
        let _ = Resources::of(&bytes).resolve(0x7f01_0000, Wish::Text);
    }

    #[test]
    fn altered_manifests_and_tables_are_survived(at in 0..2000_usize, with: u8, cut in 0..2000_usize) {
        let mut manifest = manifest("org.example.app", "1.0", 1, &[("label", Held::Reference(0x7f01_0000))]);
        let mut table = resources(&[(0x7f01_0000, Config::default(), Held::Text("Probe"))]);
        for bytes in [&mut manifest, &mut table] {
            let length = bytes.len();
            bytes[at % length] = with;
            let _ = axml::manifest(&bytes[..cut % length]);
            let _ = axml::manifest(bytes);
            let resources = Resources::of(bytes);
            let _ = (resources.resolve(0x7f01_0000, Wish::Text), resources.resolve(0x7f01_0000, Wish::Icon));
        }
    }
}
