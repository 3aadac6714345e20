//! Black-box tests of the whole server: real binary, real TLS, clients that nobody here wrote. One module per area;
//! what every story needs (a server, a phone, stock clients) is in `support`.
#![allow(clippy::unwrap_used)]

mod support;

mod access;
mod admin;
mod attacks;
mod attacks_http;
mod audit;
mod brought_authority;
mod certificates;
mod command_line;
mod crash;
mod downloads;
mod farewell;
mod files;
mod fuzzed;
mod glpi;
mod hostile;
mod http;
mod invitations;
mod life;
mod memory;
mod message_log;
mod metrics;
mod move_in;
mod on_postgres;
mod packaging;
mod presence;
mod revocation;
mod rotation;
mod school;
mod seeds;
mod services;
mod sessions;
mod simulated;
mod start_and_stop;
mod stock_clients;
mod store;
mod task_store;
mod tasks;
mod tenants;
mod tokens;
mod welcome;
mod wire;
