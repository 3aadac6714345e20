//! Certificates, keys and lists that the operator brings along, looked at before anything starts: a complaint names the setting. Changes
//! nothing and needs no data directory.

use std::{path::Path, sync::Arc};

use rustls::{RootCertStore, server::WebPkiClientVerifier};

use super::tls;
use crate::{
    config::{ClientCertificates, Config, Mqtt},
    pki::{
        self, CertsError,
        foreign::{self, ForeignCrls},
    },
};

/// Why serving cannot work with these files (`Err`), or what about them is unwise.
///
/// # Errors
/// A file that is missing, damaged, or does not fit the others.
pub fn check(config: &Config) -> Result<Vec<String>, String> {
    check_clients(&config.mqtt)?;
    check_server(config)
}

fn named(key: &'static str) -> impl Fn(CertsError) -> String {
    move |problem| format!("{key}: {problem}")
}

fn check_clients(settings: &Mqtt) -> Result<(), String> {
    if settings.client_certificates == ClientCertificates::Off || settings.client_ca_file.is_empty() {
        return Ok(());
    }
    let (mut roots, mut anchors) = (RootCertStore::empty(), Vec::new());
    let authorities = tls::add_authorities(Path::new(&settings.client_ca_file), &mut roots, &mut anchors)
        .map_err(named("mqtt.client_ca_file"))?;
    let in_lists = named("mqtt.client_crl_files");
    ForeignCrls::load(&settings.client_crl_files, &authorities).map_err(&in_lists)?;
    let mut lists = Vec::new();
    for file in &settings.client_crl_files {
        lists.extend(foreign::read(Path::new(file)).map_err(&in_lists)?);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).with_crls(lists).build();
    verifier.map(drop).map_err(|e| format!("mqtt.client_crl_files: {e}"))
}

fn check_server(config: &Config) -> Result<Vec<String>, String> {
    let settings = &config.mqtt;
    if settings.certificate_file.is_empty() {
        return Ok(Vec::new());
    }
    let (certificate, key) = (Path::new(&settings.certificate_file), Path::new(&settings.key_file));
    let says = pki::describe(certificate).map_err(named("mqtt.certificate_file"))?;
    tls::try_out(certificate, key).map_err(named("mqtt.key_file"))?;
    let told = told(config).into_iter().filter(|(_, host)| !says.names.iter().any(|name| covers(name, host)));
    let names = says.names.join(", ");
    let sentence = |(setting, host)| {
        format!("{setting} is {host}, but mqtt.certificate_file is for {names}: agents that verify it will not connect")
    };
    Ok(told.map(sentence).collect())
}

/// Names that agents are told to find this certificate at.
fn told(config: &Config) -> Vec<(&'static str, String)> {
    let mut told = vec![("mqtt.public_host", config.mqtt.public_host.clone())];
    // Without a listener over TLS of our own, somebody else answers for https.
    let address = config.http.public_url.parse::<hyper::Uri>().ok().filter(|it| it.scheme_str() == Some("https"));
    let host = address.as_ref().and_then(hyper::Uri::host).filter(|_| !config.http.tls_listen.is_empty());
    told.extend(host.map(|it| ("the host of http.public_url", it.trim_matches(['[', ']']).to_owned())));
    told
}

/// Whether a name in a certificate, `*.example.com` included, is good for a host.
fn covers(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(rest) => host.split_once('.').is_some_and(|(_, above)| above.eq_ignore_ascii_case(rest)),
        None => name.eq_ignore_ascii_case(host),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use rcgen::{BasicConstraints, CertificateParams, CertifiedKey, IsCa, Issuer, KeyPair};

    use super::*;

    struct Files(tempfile::TempDir);

    impl Files {
        fn new() -> Files {
            Files(tempfile::tempdir().unwrap())
        }

        fn write(&self, name: &str, text: &str) -> String {
            let file: PathBuf = self.0.path().join(name);
            fs::write(&file, text).unwrap();
            file.display().to_string()
        }

        fn none(&self) -> String {
            self.0.path().join("none.pem").display().to_string()
        }
    }

    fn certificate(names: &[&str]) -> CertifiedKey<KeyPair> {
        rcgen::generate_simple_self_signed(names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn each_file_that_cannot_be_used_is_named_with_its_setting() {
        let files = Files::new();
        let (one, other) = (certificate(&["localhost"]), certificate(&["localhost"]));
        let good = files.write("good.pem", &one.cert.pem());
        let key = files.write("key.pem", &one.signing_key.serialize_pem());
        let foreign = files.write("other.pem", &other.signing_key.serialize_pem());
        let nonsense = files.write("nonsense.pem", "nonsense");
        let ca = authority();
        let trusted = files.write("ca.pem", &ca.0);
        let refused = |change: &dyn Fn(&mut Mqtt)| {
            let mut config = Config::default();
            change(&mut config.mqtt);
            check(&config).unwrap_err()
        };
        for (chain, key, why) in [
            (&files.none(), &key, "mqtt.certificate_file: cannot read"),
            (&nonsense, &key, "mqtt.certificate_file: cannot use"),
            (&good, &files.none(), "mqtt.key_file: cannot read"),
            (&good, &nonsense, "mqtt.key_file: cannot use"),
            (&good, &foreign, "mqtt.key_file: the key"),
        ] {
            let said = refused(&|it| (it.certificate_file, it.key_file) = (chain.clone(), key.clone()));
            assert!(said.starts_with(why), "{said}");
        }
        for (file, why) in [(&files.none(), "cannot read"), (&nonsense, "cannot use")] {
            let said = refused(&|it| it.client_ca_file.clone_from(file));
            assert!(said.starts_with(&format!("mqtt.client_ca_file: {why}")), "{said}");
            let said = refused(&|it| {
                it.client_ca_file.clone_from(&trusted);
                it.client_crl_files = vec![file.clone()];
            });
            assert!(said.starts_with(&format!("mqtt.client_crl_files: {why}")), "{said}");
        }
        let mut config = Config::default();
        (config.mqtt.certificate_file, config.mqtt.key_file) = (good, key);
        config.mqtt.client_ca_file = trusted;
        assert_eq!(check(&config), Ok(Vec::new()));
        // What is switched off is not read.
        (config.mqtt.client_certificates, config.mqtt.client_ca_file) = (ClientCertificates::Off, files.none());
        assert_eq!(check(&config), Ok(Vec::new()));
    }

    fn authority() -> (String, Issuer<'static, KeyPair>) {
        let (mut params, key) = (CertificateParams::default(), KeyPair::generate().unwrap());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params.self_signed(&key).unwrap().pem(), Issuer::new(params, key))
    }

    #[test]
    fn names_that_agents_are_told_must_be_in_the_certificate() {
        let files = Files::new();
        let brought = certificate(&["mdm.example.org", "*.wild.example"]);
        let mut config = Config::default();
        config.mqtt.certificate_file = files.write("good.pem", &brought.cert.pem());
        config.mqtt.key_file = files.write("key.pem", &brought.signing_key.serialize_pem());
        let mut unwise = |host: &str, url: &str, tls_listen: &str| {
            config.mqtt.public_host = host.into();
            (config.http.public_url, config.http.tls_listen) = (url.into(), tls_listen.into());
            check(&config).unwrap()
        };
        let here = "0.0.0.0:443";
        for host in ["mdm.example.org", "MDM.example.org", "a.wild.example"] {
            assert!(unwise(host, &format!("https://{host}:8443/api"), here).is_empty(), "{host}");
        }
        for host in ["example.org", "wild.example", "a.b.wild.example"] {
            let said = unwise(host, "https://mdm.example.org", here);
            assert!(said.len() == 1 && said[0].starts_with(&format!("mqtt.public_host is {host}")), "{said:?}");
            let said = unwise("mdm.example.org", &format!("https://{host}:8443"), here);
            assert!(
                said.len() == 1 && said[0].starts_with(&format!("the host of http.public_url is {host}")),
                "{said:?}"
            );
            assert!(unwise("mdm.example.org", &format!("https://{host}"), "").is_empty(), "a proxy answers there");
        }
    }
}
