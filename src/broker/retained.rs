//! Retained messages of service accounts.
