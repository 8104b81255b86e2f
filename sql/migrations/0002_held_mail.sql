-- 0002: mail that is kept for its owner's decision can be found from the ledger, released once and ended.
-- Locks: `alter table` and `create index` lock failed_delivery, stored_message and receiver_memory against other
-- sessions for a moment; no released version has written to them. The previous release still runs with it.

-- The ledger's row that says `held`. No foreign key: a release removes that row, the copies have rows of their own.
alter table failed_delivery add column ledger_id bigint;
alter table failed_delivery add constraint failed_delivery_ledger_unique unique (ledger_id);

alter table stored_message add column evidence bytea;
alter table stored_message add column leased_until timestamptz;

create index receiver_memory_updated_at on receiver_memory (updated_at);

-- However a record goes, by age, by its owner or with the account: what it held is held no more.
create function failed_delivery_gone() returns trigger language plpgsql as $$
begin
    update ledger set outcome = 'discarded', finished_at = now() where id = old.ledger_id and outcome = 'held';
    return null;
end
$$;
create trigger failed_delivery_gone after delete on failed_delivery
    for each row when (old.ledger_id is not null) execute function failed_delivery_gone();
