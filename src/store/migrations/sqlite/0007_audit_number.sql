-- The chain begins with entry 1. Same file name as in ../postgres.

-- A trigger, because SQLite adds no check to a table that is there. What was let in before stays, for `mdmq audit verify` to report.
create trigger audit_begins_with_1 before insert on audit
when new.number < 1
begin
    select raise(abort, 'the audit begins with entry 1');
end;
