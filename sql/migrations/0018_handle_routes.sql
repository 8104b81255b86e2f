-- 0018: lists of administrators know where mail goes of a handle that went to somebody else and came back.
-- Locks: none that anybody notices. The previous release still runs with it.

create function handle_route_handed() returns trigger language plpgsql as $$
begin
    perform pg_advisory_xact_lock(1919905652, hashint8(new.account_id));
    update alias_route set goto = alias_route_goto(account_id, kind, object_id)
        where account_id = new.account_id and kind = 'handle' and object_id = new.id;
    return null;
end
$$;
-- Whoever had it before and gets it back has a way from then.
create trigger handle_route_handed after update of account_id on handle
    for each row when (old.account_id is distinct from new.account_id and new.account_id is not null)
    execute function handle_route_handed();

update alias_route set goto = alias_route_goto(account_id, kind, object_id)
    where kind = 'handle' and goto is distinct from alias_route_goto(account_id, kind, object_id);
