-- The chain begins with entry 1. Same file name as in ../sqlite.

-- Not valid: what was let in before stays, for `mdmq audit verify` to report, and keeps no server from starting.
alter table audit add constraint audit_begins_with_1 check (number >= 1) not valid;
