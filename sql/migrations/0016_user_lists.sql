-- 0016: the list of users knows how many there are without counting them, and finds parts of their addresses.
-- Locks: writers of account and recipient wait until the indexes are made: seconds for a million. The previous release
-- still runs with it.

-- Users of the dashboard: accounts with a name. Anybody may become one.
create function account_tally_switch() returns trigger language plpgsql as $$
begin
    insert into list_tally (list, block, part, rows, active)
    select 'account', one.id >> 9, one.is_admin::integer, one.times, (one.state = 'active')::integer * one.times
    from (values (old.id, old.is_admin, old.name, old.state, -1), (new.id, new.is_admin, new.name, new.state, 1))
        as one(id, is_admin, name, state, times)
    where one.name is not null and one.state <> 'deleting';
    return null;
end
$$;
create trigger account_tally_switch after update of name, state, is_admin on account for each row
    when (((old.name is null), old.state, old.is_admin) is distinct from ((new.name is null), new.state, new.is_admin))
    execute function account_tally_switch();
create trigger account_tally_add after insert on account
    referencing new table as changed for each statement execute function list_tally_keep(
        'name is not null and state <> ''deleting''', 'state = ''active''', 'is_admin::integer');
create trigger account_tally_remove after delete on account
    referencing old table as changed for each statement execute function list_tally_keep(
        'name is not null and state <> ''deleting''', 'state = ''active''', 'is_admin::integer');
insert into list_tally (list, block, part, rows, active)
    select 'account', id >> 9, is_admin::integer, count(*), count(*) filter (where state = 'active')
    from account where name is not null and state <> 'deleting' group by 2, 3;

do $$
begin
    create index account_words on account using gin (email gin_trgm_ops) with (gin_pending_list_limit = 512);
    create index recipient_words on recipient using gin (address_folded gin_trgm_ops)
        with (gin_pending_list_limit = 512);
exception
    when undefined_object or undefined_file or feature_not_supported or insufficient_privilege then
        raise notice 'pg_trgm is not available: lists are searched slowly';
end
$$;
