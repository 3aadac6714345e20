//! Who is connected: account and client id to outbox; takeover.
