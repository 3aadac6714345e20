//! Every metric, declared once. Labels come from closed lists, never from serials, client ids or topics off the wire.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

/// One label from a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Outcome {
    /// How it ended.
    pub outcome: &'static str,
}

/// Why something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    /// From a closed list.
    pub reason: &'static str,
}

/// Who: `device` or `service`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Who {
    /// `device` or `service`.
    pub principal: &'static str,
}

/// Where somebody came in: `mqtt`, `http` or `admin`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Listener {
    /// `mqtt`, `http` or `admin`.
    pub listener: &'static str,
}

/// A kind of report and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReportOutcome {
    /// A topic of the catalog.
    pub report: &'static str,
    /// `accepted` or `malformed`.
    pub outcome: &'static str,
}

/// A kind of command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CommandName {
    /// A name of the catalog.
    pub command: &'static str,
}

/// A state of commands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CommandState {
    /// `queued`, `sent`, `delivered`, `answered`, `expired`, `failed`, `cancelled`.
    pub state: String,
}

/// A bounded table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TableName {
    /// From a closed list.
    pub table: &'static str,
}

/// Somebody who was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TurnedAway {
    /// `mqtt`, `http` or `admin`.
    pub listener: &'static str,
    /// `full`, `address_full`, `handshakes`, `address_handshakes`, `rate`, `address_rate`, `banned`, `displaced` (it made room for
    /// another one).
    pub reason: &'static str,
}

/// An answered HTTP request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HttpAnswer {
    /// `agents` or `admin`.
    pub listener: &'static str,
    /// `2xx`, `4xx`, `5xx`, …
    pub status: &'static str,
}

/// All metrics of the server.
pub struct Metrics {
    registry: Registry,
    /// Open MQTT connections, by principal.
    pub connections: Family<Who, Gauge>,
    /// TLS handshakes: `ok`, `failed`, `timeout`, `late` (it came to its turn when its time was over).
    pub handshakes: Family<Outcome, Counter>,
    /// Connections closed before a byte was read, by listener and reason.
    pub turned_away: Family<TurnedAway, Counter>,
    /// Open sockets by listener, whoever they are; refreshed when scraped.
    pub sockets: Family<Listener, Gauge>,
    /// Clients that shake hands or, over MQTT, have not said CONNECT yet, by listener; refreshed when scraped.
    pub shaking_hands: Family<Listener, Gauge>,
    /// Failed logins: `mqtt`, `http`, `admin`.
    pub failed_logins: Family<Listener, Counter>,
    /// Logins refused without a look, by listener: the address is banned.
    pub banned_logins: Family<Listener, Counter>,
    /// Bans of addresses that began.
    pub bans: Counter,
    /// Requests for sessions and enrollments that were asked to come again because their address asked too often.
    pub hurried_sessions: Counter,
    /// Requests that were asked to come again because too many bodies were in memory.
    pub crowded_requests: Counter,
    /// Logins and changes of people that were asked to come again because too many passwords waited to be computed.
    pub crowded_passwords: Counter,
    /// Passwords that are computed or wait for it; refreshed when scraped.
    pub passwords_waiting: Gauge,
    /// Connects of devices that waited because they came too often.
    pub held_connects: Counter,
    /// Accounts that two places kept taking from each other.
    pub clone_alarms: Counter,
    /// Slots in use of the tables that remember strangers; refreshed when scraped.
    pub remembered: Family<TableName, Gauge>,
    /// CONNECT packets: `accepted`, `bad_credentials`, `not_authorized`, `identifier_rejected`, `unavailable`, `unacceptable_version`.
    pub connects: Family<Outcome, Counter>,
    /// Ended connections: `goodbye`, `eof`, `keep_alive`, `no_connect`, `refused`, `protocol`, `takeover`, `revoked`, `shutdown`, `store`, `socket`.
    pub disconnects: Family<Reason, Counter>,
    /// Protocol errors by kind (names of `mqtt::codec::ProtocolError`).
    pub protocol_errors: Family<Reason, Counter>,
    /// Reports of devices by topic of the catalog.
    pub reports: Family<ReportOutcome, Counter>,
    /// Messages of service accounts that were accepted.
    pub service_messages: Counter,
    /// Publishes that were acknowledged and dropped because the sender may not say them.
    pub denied: Family<Who, Counter>,
    /// Subscriptions answered with failure.
    pub subscriptions_refused: Family<Who, Counter>,
    /// Messages handed to outboxes.
    pub posted: Counter,
    /// Messages that a subscriber did not get: `full`, `denied`, `empty`, `not_subscribed`.
    pub not_delivered: Family<Reason, Counter>,
    /// Retained messages refused because the store of them is full.
    pub retained_refused: Counter,
    /// Wills published.
    pub wills: Counter,
    /// Connections taken over by a newer one of the same account.
    pub takeovers: Family<Who, Counter>,
    /// Times that a device was not heard for a while, because it said much that costs more than it should.
    pub pauses: Counter,
    /// Commands accepted from administrators, by name.
    pub commands_queued: Family<CommandName, Counter>,
    /// Commands now, by state; refreshed when scraped.
    pub commands: Family<CommandState, Gauge>,
    /// Messages waiting in outboxes; refreshed when scraped.
    pub outbox_depth: Gauge,
    /// Agents whose presence could not be written yet; refreshed when scraped.
    pub presence_unwritten: Gauge,
    /// Sessions of service accounts; refreshed when scraped.
    pub sessions: Gauge,
    /// Those of them that outlive their connections; refreshed when scraped.
    pub persistent_sessions: Gauge,
    /// Sessions that ended because nobody came back to them.
    pub sessions_expired: Counter,
    /// Time from the start of a transaction to its commit.
    pub commit_duration: Histogram,
    /// Bytes of what devices said that wait to be written; refreshed when scraped.
    pub writes_waiting: Gauge,
    /// Submissions per transaction.
    pub commit_batch: Histogram,
    /// Devices that completed enrollment.
    pub enrollments: Family<Outcome, Counter>,
    /// Attempts to send a mail: `sent`, `postponed`, `failed`.
    pub mails: Family<Outcome, Counter>,
    /// Mails that wait; refreshed when scraped.
    pub mails_waiting: Gauge,
    /// Certificates of devices: `issued`, `renewed`, `revoked`.
    pub certificates: Family<Outcome, Counter>,
    /// Requests that nothing was signed for: `long`, `malformed`, `signature`, `key`, `authority`.
    pub certificate_requests_refused: Family<Reason, Counter>,
    /// CONNECT packets with a certificate: `accepted`, `refused`, `not_yet_valid`, `expired`, `unknown`, `revoked`, `no_device`,
    /// `ambiguous`, `mismatch`, `bad_password`.
    pub certificate_logins: Family<Outcome, Counter>,
    /// Certificates that are taken now; refreshed when scraped.
    pub certificates_valid: Gauge,
    /// Those of them that end within two weeks; refreshed when scraped.
    pub certificates_ending: Gauge,
    /// Revocation lists of other authorities whose next update is over.
    pub certificate_lists_overdue: Gauge,
    /// When the server's own certificate ends.
    pub server_certificate_ends: Gauge,
    /// HTTP answers.
    pub http_answers: Family<HttpAnswer, Counter>,
    /// Contents of files and packages that came in: `stored`, `refused`.
    pub uploads: Family<Outcome, Counter>,
    /// Contents that devices asked for: `complete`, `broken`.
    pub downloads: Family<Outcome, Counter>,
    /// Bytes of contents sent to devices.
    pub contents_sent: Counter<u64, AtomicU64>,
    /// Bytes read from MQTT sockets.
    pub received: Counter<u64, AtomicU64>,
    /// Bytes written to MQTT sockets.
    pub sent: Counter<u64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self::unregistered();
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn unregistered() -> Self {
        Self {
            registry: Registry::with_prefix("mdm"),
            connections: Family::default(),
            handshakes: Family::default(),
            turned_away: Family::default(),
            sockets: Family::default(),
            shaking_hands: Family::default(),
            failed_logins: Family::default(),
            banned_logins: Family::default(),
            bans: Counter::default(),
            hurried_sessions: Counter::default(),
            crowded_requests: Counter::default(),
            crowded_passwords: Counter::default(),
            passwords_waiting: Gauge::default(),
            held_connects: Counter::default(),
            clone_alarms: Counter::default(),
            remembered: Family::default(),
            connects: Family::default(),
            disconnects: Family::default(),
            protocol_errors: Family::default(),
            reports: Family::default(),
            service_messages: Counter::default(),
            denied: Family::default(),
            subscriptions_refused: Family::default(),
            posted: Counter::default(),
            not_delivered: Family::default(),
            retained_refused: Counter::default(),
            wills: Counter::default(),
            takeovers: Family::default(),
            pauses: Counter::default(),
            commands_queued: Family::default(),
            commands: Family::default(),
            outbox_depth: Gauge::default(),
            presence_unwritten: Gauge::default(),
            sessions: Gauge::default(),
            persistent_sessions: Gauge::default(),
            sessions_expired: Counter::default(),
            commit_duration: Histogram::new(exponential_buckets(0.000_25, 2.0, 14)),
            writes_waiting: Gauge::default(),
            commit_batch: Histogram::new(exponential_buckets(1.0, 2.0, 13)),
            enrollments: Family::default(),
            mails: Family::default(),
            mails_waiting: Gauge::default(),
            certificates: Family::default(),
            certificate_requests_refused: Family::default(),
            certificate_logins: Family::default(),
            certificates_valid: Gauge::default(),
            certificates_ending: Gauge::default(),
            certificate_lists_overdue: Gauge::default(),
            server_certificate_ends: Gauge::default(),
            http_answers: Family::default(),
            uploads: Family::default(),
            downloads: Family::default(),
            contents_sent: Counter::default(),
            received: Counter::default(),
            sent: Counter::default(),
        }
    }

    #[rustfmt::skip]
    fn register(&mut self) {
        let it = &mut self.registry;
        it.register("connections", "Open MQTT connections", self.connections.clone());
        it.register("tls_handshakes", "TLS handshakes by outcome", self.handshakes.clone());
        it.register("connections_turned_away", "Connections closed before a byte was read", self.turned_away.clone());
        it.register("open_sockets", "Open sockets by listener", self.sockets.clone());
        it.register("tls_handshakes_in_progress", "Clients that shake hands or, over MQTT, have not said CONNECT yet", self.shaking_hands.clone());
        it.register("failed_logins", "Failed logins by listener", self.failed_logins.clone());
        it.register("banned_logins", "Logins refused without a look because their address is banned", self.banned_logins.clone());
        it.register("bans", "Bans of addresses that began", self.bans.clone());
        it.register("sessions_rate_limited", "Requests for sessions and enrollments beyond the rate of their address", self.hurried_sessions.clone());
        it.register("requests_crowded_out", "Requests refused because too many bodies were in memory", self.crowded_requests.clone());
        it.register("passwords_crowded_out", "Logins and changes of people refused because too many passwords waited", self.crowded_passwords.clone());
        it.register("passwords_waiting", "Passwords that are computed or wait for it", self.passwords_waiting.clone());
        it.register("connects_held", "Connects of devices that waited because they came too often", self.held_connects.clone());
        it.register("clone_alarms", "Accounts that two places kept taking from each other", self.clone_alarms.clone());
        it.register("remembered", "Slots in use of the tables that remember strangers", self.remembered.clone());
        it.register("connects", "CONNECT packets by outcome", self.connects.clone());
        it.register("disconnects", "Ended MQTT connections by reason", self.disconnects.clone());
        it.register("protocol_errors", "Connections closed because the peer broke the protocol", self.protocol_errors.clone());
        it.register("reports", "Reports of devices by kind and outcome", self.reports.clone());
        it.register("service_messages", "Messages accepted from service accounts", self.service_messages.clone());
        it.register("publishes_denied", "Publishes dropped because the sender may not say them", self.denied.clone());
        it.register("subscriptions_refused", "Filters answered with failure", self.subscriptions_refused.clone());
        it.register("messages_posted", "Messages handed to outboxes", self.posted.clone());
        it.register("messages_not_delivered", "Messages that a subscriber did not get, by reason", self.not_delivered.clone());
        it.register("retained_refused", "Retained messages refused because the store is full", self.retained_refused.clone());
        it.register("wills", "Wills published", self.wills.clone());
        it.register("takeovers", "Connections taken over by a newer one of the same account", self.takeovers.clone());
        it.register(
            "device_pauses",
            "Times that a device was not heard for a while, because it said much that costs more than it should",
            self.pauses.clone(),
        );
        it.register("commands_queued", "Commands accepted from administrators", self.commands_queued.clone());
        it.register("commands", "Commands by state", self.commands.clone());
        it.register("outbox_messages", "Messages waiting in the outboxes of service accounts", self.outbox_depth.clone());
        it.register("presence_unwritten", "Devices whose coming or leaving could not be written yet", self.presence_unwritten.clone());
        it.register("service_sessions", "Sessions of service accounts", self.sessions.clone());
        it.register("persistent_sessions", "Sessions of service accounts that outlive their connections", self.persistent_sessions.clone());
        it.register("sessions_expired", "Sessions of service accounts that nobody came back to", self.sessions_expired.clone());
        it.register_with_unit("commit_duration", "From the start of a transaction to its commit", Unit::Seconds, self.commit_duration.clone());
        it.register_with_unit("writes_waiting", "What devices said and waits to be written", Unit::Bytes, self.writes_waiting.clone());
        it.register("commit_batch_submissions", "Submissions per transaction", self.commit_batch.clone());
        it.register("enrollments", "Enrollment attempts by outcome", self.enrollments.clone());
        it.register("mails", "Attempts to send the mail of an invitation, by outcome", self.mails.clone());
        it.register("mails_waiting", "Mails of invitations that wait to be sent", self.mails_waiting.clone());
        it.register("certificates", "Certificates of devices by what was done", self.certificates.clone());
        it.register("certificate_requests_refused", "Requests that nothing was signed for, by reason", self.certificate_requests_refused.clone());
        it.register("certificate_logins", "CONNECT packets with a certificate, by outcome", self.certificate_logins.clone());
        it.register("certificates_valid", "Certificates of devices that are taken now", self.certificates_valid.clone());
        it.register("certificates_ending", "Those of them that end within two weeks", self.certificates_ending.clone());
        it.register("certificate_lists_overdue", "Revocation lists of other authorities whose next update is over", self.certificate_lists_overdue.clone());
        it.register("server_certificate_ends_timestamp_seconds", "When the server's own certificate ends, in seconds since 1970", self.server_certificate_ends.clone());
        it.register("http_answers", "HTTP answers by listener and class of status", self.http_answers.clone());
        it.register("uploads", "Contents of files and packages that came in, by outcome", self.uploads.clone());
        it.register("downloads", "Contents that devices asked for, by outcome", self.downloads.clone());
        it.register_with_unit("contents_sent", "Contents sent to devices", Unit::Bytes, self.contents_sent.clone());
        it.register_with_unit("mqtt_received", "Read from MQTT sockets", Unit::Bytes, self.received.clone());
        it.register_with_unit("mqtt_sent", "Written to MQTT sockets", Unit::Bytes, self.sent.clone());
    }

    /// One transaction was committed.
    pub fn committed(&self, submissions: usize, duration: Duration) {
        self.commit_batch.observe(submissions as f64);
        self.commit_duration.observe(duration.as_secs_f64());
    }

    /// The text that Prometheus scrapes.
    pub fn encode(&self) -> String {
        let mut page = String::new();
        text::encode(&mut page, &self.registry).expect("writing to a String does not fail");
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_every_metric_with_its_prefix_and_help() {
        let metrics = Metrics::default();
        metrics.connects.get_or_create(&Outcome { outcome: "accepted" }).inc();
        metrics.committed(3, Duration::from_millis(2));
        let page = metrics.encode();
        assert!(page.contains("mdm_connects_total{outcome=\"accepted\"} 1"), "{page}");
        assert!(page.contains("mdm_commit_duration_seconds_count 1"), "{page}");
        assert!(page.lines().filter(|it| !it.starts_with('#')).all(|it| it.starts_with("mdm_")), "{page}");
    }
}
