//! The sequence of the seeds and everything that can go wrong in it, against the router.
