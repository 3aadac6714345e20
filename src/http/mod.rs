//! The HTTP edge.

pub mod admin;
