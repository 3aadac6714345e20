//! mdmq is the whole server side of Flyve-style mobile device management: the MQTT broker that devices connect to,
//! the HTTP API that enrolls them, and the logic that turns what they say into database state.
//!
//! Modules in reading order. The arrows of who may use whom are kept by `tests/tidy.rs`.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod clock;
pub mod config;
pub mod cores;
pub mod datadir;
pub mod ids;
pub mod metrics;
pub mod qr;

pub mod mqtt;

pub mod broker;

pub mod mdm;

pub mod guard;

pub mod mail;
pub mod pki;
pub mod store;

pub mod flows;

pub mod http;
pub mod net;

pub mod cli;
pub mod serve;
pub mod simulate;
