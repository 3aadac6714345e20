//! What the broker does about certificates of clients.

use serde::{Deserialize, Serialize};

use super::Mqtt;

/// Certificates of devices that live shorter than this would be renewed all the time.
const CLIENT_CERTIFICATE_LIFE_S_MIN: u32 = 60;

/// What a listener does about certificates of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// Asks for none.
    Off,
    /// Takes one.
    Optional,
    /// Lets nobody in without one.
    Required,
}

/// Where a certificate of a foreign authority names the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateMapping {
    /// The common name of the subject.
    Cn,
    /// An alternative name that is a URI with the configured prefix.
    SanUri,
    /// An alternative name that is a host name.
    SanDns,
    /// The serialNumber attribute of the subject.
    SerialNumber,
}

impl Mqtt {
    /// Sense and nonsense in the settings of client certificates.
    pub(super) fn check_client_certificates(&self) -> Result<Vec<String>, String> {
        let is_off = self.client_certificates == ClientCertificates::Off;
        if self.client_certificate_life_s < CLIENT_CERTIFICATE_LIFE_S_MIN {
            return Err(format!("mqtt.client_certificate_life_s must be at least {CLIENT_CERTIFICATE_LIFE_S_MIN}"));
        }
        if self.client_ca_file.is_empty() && !self.client_crl_files.is_empty() {
            return Err("mqtt.client_crl_files needs mqtt.client_ca_file: a list of whose certificates?".into());
        }
        if is_off && self.password_with_certificate {
            return Err("mqtt.password_with_certificate needs certificates: mqtt.client_certificates is off".into());
        }
        let mut unwise = Vec::new();
        if is_off && !self.client_ca_file.is_empty() {
            unwise.push("mqtt.client_ca_file has no effect while mqtt.client_certificates is off".into());
        }
        if self.client_certificates == ClientCertificates::Required && !self.tcp_listen.is_empty() {
            unwise.push(
                "mqtt.client_certificates is about mqtt.tls_listen: on mqtt.tcp_listen a password is enough".into(),
            );
        }
        if self.client_certificates == ClientCertificates::Optional && self.password_with_certificate {
            let text = "mqtt.password_with_certificate with optional certificates: a password alone is enough for those \
                        who show none; `required` asks everybody for both";
            unwise.push(text.into());
        }
        Ok(unwise)
    }
}
