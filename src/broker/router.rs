//! Subscriptions of service accounts and fan-out.
