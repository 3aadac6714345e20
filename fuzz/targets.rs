//! What hostile bytes meet first, one function per target: none of them may panic, hang or grow without bound, and each checks what
//! must hold of whatever was understood. Run by cargo-fuzz (fuzz/README.md) and, with mutations of the seeds, by the test command.

pub mod certificates;

use std::io::Write;

use mdmq::{
    broker::acl,
    config::RangeSuffix,
    flows::{SecretKey, import, invite::Wish, invite_many},
    http::range::Part,
    mdm::{
        deeplink::{DEEPLINK_BYTES_MAX, Deeplink},
        enroll::{Attempt, sent_inventory},
        inventory,
        package::{read_apk, unwrap_upk},
        policy,
    },
    mqtt::{codec, packet::Version, topic},
};

/// A target: what it is called, what it does with bytes, and bytes to begin with.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    #[allow(dead_code, reason = "cargo-fuzz keeps a corpus of its own")]
    pub seeds: &'static [&'static [u8]],
}

/// All of them. `fuzz_targets/` has a file for each.
#[rustfmt::skip]
pub const TARGETS: &[Target] = &[
    Target { name: "mqtt_decode", run: mqtt_decode, seeds: &[
        b"\x10\x13\x00\x04MQTT\x04\xc2\x00\x3c\x00\x01a\x00\x01b\x00\x01c",
        b"\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x01a",
        b"\x32\x0b\x00\x05a/b/c\x00\x01hi", b"\x82\x0a\x00\x01\x00\x05a/+/#\x01", b"\x40\x02\x00\x01", b"\xc0\x00", b"\xe0\x00",
    ] },
    Target { name: "topic_filter", run: topic_filter, seeds: &[b"a/+/#\na/b/c", b"76/agent/AZERTY/#\n/76/agent/AZERTY/S", b"#\n$SYS/x", b"+/+\n/"] },
    Target { name: "access_entry", run: access_entry, seeds: &[b"+/agent/+/Status/#:r", b"#:deny", b"a:b/c:rw", b"x:w\na/b"] },
    Target { name: "deeplink", run: deeplink, seeds: &[
        b"flyve://register?data=aHR0cDovL2V4YW1wbGUub3JnXG46dDpp", b"{\"url\":\"http://a\",\"user_token\":\"t\",\"invitation_token\":\"i\"}", b"http://a/?data=e30=",
        b"?data=http://a\\\\b\\;t\\;i", b"?data=http://a//;t;i",
    ] },
    Target { name: "range_header", run: range_header, seeds: &[b"bytes=0-99", b"bytes=-100", b"bytes=5-", b"bytes=1-2,4-5", b"bytes=18446744073709551615-0"] },
    Target { name: "inventory_xml", run: inventory_xml, seeds: &[
        b"<?xml version=\"1.0\"?><REQUEST><CONTENT><HARDWARE><NAME>n</NAME><UUID>u</UUID></HARDWARE><BIOS><SSN>s</SSN></BIOS></CONTENT></REQUEST>",
        b"<!DOCTYPE a [<!ENTITY b \"c\"><!ENTITY d \"&b;&b;\">]><REQUEST>&d;</REQUEST>", b"<a><a><a><a>",
    ] },
    Target { name: "enrollment", run: enrollment, seeds: &[
        b"{\"_email\":\"a@b.org\",\"_invitation_token\":\"t\",\"_serial\":\"S\",\"_uuid\":\"u\",\"csr\":\"\",\"firstname\":\"A\",\"version\":\"2.0.0\",\"type\":\"android\",\"inventory\":\"PFJFUVVFU1QvPg==\"}",
        b"{\"_serial\":17,\"version\":[],\"inventory\":\"***\"}",
    ] },
    Target { name: "certificate_request", run: certificates::certificate_request, seeds: &[
        include_bytes!("../src/pki/requests/android_rsa4096_sha1.pem"), include_bytes!("seeds/request_p256.pem"), include_bytes!("seeds/request_ed25519.pem"),
        include_bytes!("../src/pki/requests/p521.pem"), include_bytes!("../src/pki/requests/rsa1024.pem"), include_bytes!("../src/pki/requests/dsa.pem"),
        include_bytes!("../src/pki/requests/rsa2048_exponent3.pem"), include_bytes!("../src/pki/requests/secp256k1.pem"),
        b"-----BEGIN+CERTIFICATE+REQUEST-----%0AMIIB%2B+==%0A-----END+CERTIFICATE+REQUEST-----",
    ] },
    Target { name: "certificate_mapping", run: certificates::certificate_mapping, seeds: &[
        include_bytes!("seeds/client.der"), include_bytes!("seeds/near.der"), include_bytes!("seeds/chain.der"), include_bytes!("seeds/circle.der"),
        include_bytes!("seeds/deep.der"),
    ] },
    Target { name: "revocation_list", run: certificates::revocation_list, seeds: &[
        include_bytes!("seeds/list.der"), include_bytes!("seeds/list.pem"), include_bytes!("seeds/list_of_another.pem"),
    ] },
    Target { name: "policy_value", run: policy_value, seeds: &[b"\"1\"", b"{\"destination\":\"%SDCARD%/a\",\"remove_on_delete\":1}", b"[1,2,{}]", b"-1"] },
    Target { name: "csv_files", run: csv_files, seeds: &[
        b"serial,entity,mqttpasswd\nA,0,PBKDF2$sha256$901$AAECAwQFBgcICQoL$qRak5VvzYwNL8Ayz\n", b"email,entity\na@b.org,3\n\"x\"\"y\",\n", b"\xef\xbb\xbfemail\r\na@b\r\n",
    ] },
    Target { name: "package_archive", run: package_archive, seeds: &[b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", b"PK\x03\x04"] },
];

/// A seed made at run time, where it takes a program to make one.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|it| it.name == name).expect("a target of the table");
    (target.run)(data);
}

const PACKET_BYTES_MAX: usize = 1 << 20;

fn mqtt_decode(data: &[u8]) {
    for version in [Version::V3_1, Version::V3_1_1] {
        if let Ok(Some((_, used))) = codec::decode(data, PACKET_BYTES_MAX, version) {
            assert!((2..=data.len()).contains(&used), "took {used} of {} bytes", data.len());
            // The packet is the same whatever follows it.
            assert!(
                matches!(codec::decode(&data[..used], PACKET_BYTES_MAX, version), Ok(Some((_, same))) if same == used)
            );
        }
    }
}

fn topic_filter(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (filter, name) = text.split_once('\n').unwrap_or((&text, ""));
    let (is_filter, is_name) = (topic::is_filter(filter), topic::is_name(name));
    assert!(!topic::is_name(filter) || is_filter, "every name is a filter");
    if is_filter && is_name {
        let matches = topic::matches(filter, name);
        assert_eq!(matches, topic::filters_overlap(filter, name), "{filter} {name}");
        assert!(!matches || !topic::filter_covers(name, filter) || filter == name, "{filter} {name}");
    }
    let (canonical, _) = topic::canonical(name);
    assert!(canonical.len() <= name.len());
    let _ = (topic::parse_device_topic(name), topic::has_two_spellings(name));
}

fn access_entry(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (entry, name) = text.split_once('\n').unwrap_or((&text, "a/b"));
    if let Ok((filter, access)) = acl::parse_entry(entry) {
        assert!(topic::is_filter(&filter), "{filter}");
        let list = acl::AccessList::new(vec![(filter, access)], None);
        if topic::is_name(name) {
            let may = (list.may_read(name, None), list.may_write(name, None));
            assert!(access != acl::Access::Deny || may == (false, false));
        }
    }
}

fn deeplink(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(link) = Deeplink::parse(&text) {
        // What was understood survives being written and read again.
        let written = link.encode("");
        if written.len() > DEEPLINK_BYTES_MAX {
            return;
        }
        let again = Deeplink::parse(&written).expect("what we write, we read");
        assert_eq!((&again.url, &again.user_token), (&link.url, &link.user_token));
    }
}

fn range_header(data: &[u8]) {
    let header = String::from_utf8_lossy(data);
    for size in [0, 1, 1000, u64::MAX] {
        for suffix in [RangeSuffix::Flyve, RangeSuffix::Rfc] {
            let (from, length) = Part::of(Some(&header), size, suffix).extent(size);
            assert!(from.checked_add(length).is_some_and(|end| end <= size), "{header}: {from}+{length} of {size}");
        }
    }
}

fn inventory_xml(data: &[u8]) {
    let _ = inventory::parse(data);
}

fn enrollment(data: &[u8]) {
    if let Ok(serde_json::Value::Object(input)) = serde_json::from_slice(data) {
        let attempt = Attempt::read(&input);
        let _ = (attempt.serial(), attempt.uuid(), attempt.check_method(), attempt.read_inventory());
        let _ = sent_inventory(input.get("_inventory"));
        let _ = mdmq::flows::enroll::said(&input);
        assert!(!format!("{attempt:?}").contains("invitation_token: \"t\""));
    }
}

fn policy_value(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(data) else { return };
    for it in policy::POLICIES {
        let _ = it.check(&value, &policy::Item::None, &["%SDCARD%".to_owned()]);
    }
}

fn csv_files(data: &[u8]) {
    let _ = import::parse_import(data, &SecretKey::from([7; 32]));
    let _ = invite_many::parse(data, &Wish::default());
}

/// Counts what comes out; an archive must not fill a disk.
struct Counted(u64);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn package_archive(data: &[u8]) {
    let size = data.len() as u64;
    let _ = read_apk(data, size);
    let mut out = Counted(0);
    if let Ok(written) = unwrap_upk(data, size, &mut out) {
        assert_eq!(written, out.0);
    }
}
