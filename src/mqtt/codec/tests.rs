//! Codec cases and laws.
