//! Stock OpenSSL: as a client that says bytes over TLS, as an authority, and as somebody who verifies certificates and lists.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use super::{Server, certified::Ca, wire::Connect};

/// Certificate and key, as files.
pub type Files = (PathBuf, PathBuf);

/// `openssl` with these arguments; a client that nobody hangs up on is ended after a while.
fn openssl() -> Command {
    let mut command = Command::new("timeout");
    command.args(["20", "openssl"]);
    command
}

fn s_client(server: &Server, arguments: &[&str], shown: Option<&Files>) -> Command {
    let mut command = openssl();
    command.args(["s_client", "-connect", &format!("127.0.0.1:{}", server.ports.mqtt_tls), "-verify_return_error"]);
    command.args(arguments).arg("-CAfile").arg(server.ca_file());
    if let Some((certificate, key)) = shown {
        command.arg("-cert").arg(certificate).arg("-key").arg(key);
    }
    command
}

/// What a client prints of a handshake.
pub fn greets(server: &Server, arguments: &[&str]) -> String {
    let output = s_client(server, arguments, None).stdin(Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Says CONNECT, and DISCONNECT after it: the bytes that came back, and what the client complained of.
pub fn says(server: &Server, arguments: &[&str], shown: Option<&Files>, connect: &Connect) -> (Vec<u8>, String) {
    let mut command = s_client(server, &[arguments, &["-quiet"]].concat(), shown);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Whoever is refused in the handshake may be gone before it said anything.
    let _ = child.stdin.take().unwrap().write_all(&[connect.encode(), vec![0xe0, 0]].concat());
    let Output { stdout, stderr, .. } = child.wait_with_output().unwrap();
    (stdout, String::from_utf8_lossy(&stderr).into_owned())
}

/// A client certificate with an RSA key of so many bits, which other libraries would not make.
pub fn rsa(home: &Path, ca: &Ca, common_name: &str, bits: u32) -> Files {
    let file = |end: &str| home.join(format!("{bits}-{end}"));
    fs::write(file("ca.pem"), &ca.pem).unwrap();
    fs::write(file("ca-key.pem"), ca.key_pem()).unwrap();
    fs::write(file("extensions"), "extendedKeyUsage = clientAuth\n").unwrap();
    let mut request = openssl();
    request.args(["req", "-new", "-newkey", &format!("rsa:{bits}"), "-nodes", "-subj", &format!("/CN={common_name}")]);
    run(request.arg("-keyout").arg(file("key.pem")).arg("-out").arg(file("csr.pem")));
    let mut sign = openssl();
    sign.args(["x509", "-req", "-days", "1", "-CAcreateserial", "-in"]).arg(file("csr.pem"));
    sign.arg("-CA").arg(file("ca.pem")).arg("-CAkey").arg(file("ca-key.pem")).arg("-extfile").arg(file("extensions"));
    run(sign.arg("-out").arg(file("cert.pem")));
    (file("cert.pem"), file("key.pem"))
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What somebody else thinks of a certificate who has the authorities of this server and these lists.
pub fn verifies(server: &Server, lists: &Path, certificate: &Path) -> String {
    let mut command = openssl();
    command.args(["verify", "-crl_check", "-CAfile"]).arg(server.ca_file()).arg("-CRLfile").arg(lists).arg(certificate);
    let output = command.output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What a list says, which an authority of this server signed.
pub fn reads_list(server: &Server, file: &Path, form: &str) -> String {
    let mut command = openssl();
    command.args(["crl", "-noout", "-text", "-inform", form, "-CAfile"]);
    let output = command.arg(server.ca_file()).arg("-in").arg(file).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.contains("verify OK"), "{}: {complaint}", file.display());
    String::from_utf8_lossy(&output.stdout).into_owned()
}
