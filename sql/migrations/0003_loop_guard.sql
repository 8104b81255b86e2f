-- 0003: how often a message has been at an alias can be counted in the ledger, as a guard against loops through systems
-- that strip our marks.
-- Locks: `alter table` locks the ledger for a moment, the new index against writing while it is built; delivery waits
-- and tries again. The previous release still runs with it.

alter table ledger add column fingerprint bigint;
-- The second column keeps a newsletter with one Message-ID for everybody cheap.
drop index ledger_message_id;
create index ledger_message_id on ledger (message_id, alias_id) where message_id is not null;
