//! Enrollment.
