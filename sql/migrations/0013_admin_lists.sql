-- 0013: lists for administrators, which know how many rows there are without counting them.
-- Locks: creating the triggers keeps writers away from alias and what is listed besides until the aliases are copied: a
-- quarter of a minute for a million. The previous release still runs with it.

-- How many rows lists have among 512 ids in a row: so a page far from the first is found without walking there, and
-- nobody counts. Changes are rows of their own, so that nobody waits for anybody; one in 4096 adds them up.
create table list_tally (
    id     bigint generated always as identity,
    list   text not null,                  -- the table's name
    block  bigint not null,                -- id / 512
    part   bigint not null default 0,      -- of aliases the domain, as alias_listed has it; of bans the type
    rows   bigint not null,
    active bigint not null default 0,      -- of these; of bans those that nobody has revoked
    constraint list_tally_pkey primary key (id)
);
create index list_tally_list on list_tally (list);

create function list_tally_fold() returns trigger language plpgsql as $$
begin
    with several as (
        select list, block, part from list_tally group by list, block, part having count(*) > 1
    ), gone as (
        delete from list_tally where id in (
            select t.id from list_tally t join several using (list, block, part) for update of t skip locked)
        returning list, block, part, rows, active
    )
    insert into list_tally (list, block, part, rows, active)
    select list, block, part, sum(rows), sum(active) from gone group by list, block, part
    having sum(rows) <> 0 or sum(active) <> 0;
    return null;
end
$$;
create trigger list_tally_fold after insert on list_tally
    for each row when (new.id % 4096 = 0) execute function list_tally_fold();

create function ban_type_part(type text) returns bigint language sql immutable
return array_position(array['email', 'domain', 'ip', 'name'], type);

-- Arguments: a condition for rows that the list has, which none of them may begin or cease to fulfil, one for the
-- active ones, and their part.
create function list_tally_keep() returns trigger language plpgsql as $$
begin
    execute format(
        'insert into list_tally (list, block, part, rows, active)
         select %L, id >> 9, %s, count(*) * $1, count(*) filter (where %s) * $1 from changed where %s group by 2, 3',
        tg_table_name, tg_argv[2], tg_argv[1], tg_argv[0])
        using case tg_op when 'INSERT' then 1 else -1 end;
    return null;
end
$$;
create function ban_tally_switch() returns trigger language plpgsql as $$
begin
    insert into list_tally (list, block, part, rows, active)
    values ('ban', old.id >> 9, ban_type_part(old.type), -1, -(old.revoked_at is null)::integer),
           ('ban', new.id >> 9, ban_type_part(new.type), 1, (new.revoked_at is null)::integer);
    return null;
end
$$;
create trigger ban_tally_switch after update of type, revoked_at on ban for each row
    when (old.type <> new.type or (old.revoked_at is null) <> (new.revoked_at is null))
    execute function ban_tally_switch();
create index ban_ending on ban (expires_at) where revoked_at is null and expires_at is not null;
create function handle_tally_switch() returns trigger language plpgsql as $$
begin
    insert into list_tally (list, block, rows, active)
    values ('handle', new.id >> 9, 0, case new.state when 'active' then 1 else -1 end);
    return null;
end
$$;
create trigger handle_tally_switch after update of state on handle
    for each row when ((old.state = 'active') <> (new.state = 'active')) execute function handle_tally_switch();
create trigger ban_tally_add after insert on ban referencing new table as changed for each statement
    execute function list_tally_keep('true', 'revoked_at is null', 'ban_type_part(type)');
create trigger ban_tally_remove after delete on ban referencing old table as changed for each statement
    execute function list_tally_keep('true', 'revoked_at is null', 'ban_type_part(type)');
create trigger handle_tally_add after insert on handle referencing new table as changed for each statement
    execute function list_tally_keep('true', 'state = ''active''', '0');
create trigger dns_request_tally_add after insert on dns_request
    referencing new table as changed for each statement execute function list_tally_keep('true', 'false', '0');
create trigger dns_request_tally_remove after delete on dns_request
    referencing old table as changed for each statement execute function list_tally_keep('true', 'false', '0');
create trigger token_tally_add after insert on token referencing new table as changed for each statement
    execute function list_tally_keep('kind = ''api_key''', 'false', '0');
create trigger token_tally_remove after delete on token referencing old table as changed for each statement
    execute function list_tally_keep('kind = ''api_key''', 'false', '0');

-- Ways that aliases take: an account's default mailbox, a parent's, or the first that is attached. An alias does not
-- know where its mail goes: so one row changes when an account with a hundred thousand of them gets another default.
create table alias_route (
    id         bigint generated always as identity primary key,
    account_id bigint not null,
    kind       text not null,
    object_id  bigint not null,            -- of that kind
    goto       text collate "C",           -- the mailbox, folded; null: there is none
    constraint alias_route_unique unique (account_id, kind, object_id),
    constraint alias_route_account_fk foreign key (account_id) references account on delete cascade,
    constraint alias_route_kind_known check (kind in ('account', 'username', 'domain', 'handle', 'recipient'))
);

-- What the list is filtered by, as alias_search is for the lists of accounts, which it reads whole: of all accounts
-- there are too many. Narrow, in the order of ids, and never touched by mail.
create table alias_listed (
    id         bigint not null,            -- the alias's
    route_id   bigint,                     -- null: deleted or forgotten
    domain_id  bigint not null,            -- a shared one; 0: any other, or gone
    active     boolean not null,
    local_part text collate "C" not null,
    domain     text collate "C",           -- null: that of domain_id
    constraint alias_listed_pkey primary key (id),
    constraint alias_listed_domain_given check ((domain_id = 0) = (domain is not null))
);

create function alias_route_goto(whose bigint, what text, which bigint) returns text language sql stable
return (
    select r.address_folded from account acc join recipient r on r.id = coalesce(
        case what
            when 'recipient' then which
            when 'username' then (select default_recipient_id from username where id = which)
            when 'domain' then (select default_recipient_id from domain where id = which)
            when 'handle' then (select recipient_id from handle where id = which)
        end, acc.default_recipient_id)
    where acc.id = whose and r.verified_at is not null and not r.pending);

-- A new way and those who change where an account's ways lead wait for each other: the lock is the account's.
create function alias_route_find(whose bigint, what text, which bigint) returns bigint language plpgsql as $$
declare
    found_id bigint;
begin
    select id into found_id from alias_route where account_id = whose and kind = what and object_id = which;
    if found then
        return found_id;
    end if;
    perform pg_advisory_xact_lock_shared(1919905652, hashint8(whose));    -- "rout" in ASCII
    insert into alias_route (account_id, kind, object_id, goto)
    values (whose, what, which, alias_route_goto(whose, what, which))
    on conflict on constraint alias_route_unique do nothing returning id into found_id;
    if not found then
        select id into found_id from alias_route where account_id = whose and kind = what and object_id = which;
    end if;
    return found_id;
end
$$;

create function alias_route_of(
    alias bigint, account bigint, state text, username bigint, domain bigint, shared boolean, handle bigint)
    returns bigint language plpgsql
    set enable_seqscan = off    -- it is planned once, perhaps while there are no rows yet
as $$
declare
    attached bigint;
begin
    if account is null or state in ('deleted', 'forgotten') then
        return null;
    end if;
    select ar.recipient_id into attached
        from alias_recipient ar
        join recipient r on r.id = ar.recipient_id and r.verified_at is not null and not r.pending
        where ar.alias_id = alias order by ar.created_at, ar.recipient_id limit 1;
    return case
        when attached is not null then alias_route_find(account, 'recipient', attached)
        when handle is not null then alias_route_find(account, 'handle', handle)
        when username is not null then alias_route_find(account, 'username', username)
        when domain is not null and not shared then alias_route_find(account, 'domain', domain)
        else alias_route_find(account, 'account', account)
    end;
end
$$;

create function alias_route_refresh() returns trigger language plpgsql as $$
declare
    whose bigint := coalesce(to_jsonb(old) ->> tg_argv[0], to_jsonb(new) ->> tg_argv[0])::bigint;
begin
    perform pg_advisory_xact_lock(1919905652, hashint8(whose));
    if tg_table_name = 'recipient' and tg_op = 'DELETE' then
        delete from alias_route where account_id = whose and kind = 'recipient' and object_id = old.id;
    end if;
    update alias_route set goto = alias_route_goto(account_id, kind, object_id)
        where account_id = whose and goto is distinct from alias_route_goto(account_id, kind, object_id);
    if tg_table_name = 'recipient' and tg_op = 'UPDATE' then
        update alias_listed l
        set route_id = alias_route_of(
            a.id, a.account_id, a.state, a.username_id, a.domain_id, a.shared, a.handle_id)
        from alias_recipient ar join alias a on a.id = ar.alias_id
        where ar.recipient_id = new.id and l.id = a.id
          and ((old.verified_at is null) <> (new.verified_at is null) or old.pending <> new.pending);
    end if;
    return null;
end
$$;
create trigger account_route after update of default_recipient_id on account
    for each row when (old.default_recipient_id is distinct from new.default_recipient_id)
    execute function alias_route_refresh('id');
create trigger username_route after update of default_recipient_id on username
    for each row when (old.default_recipient_id is distinct from new.default_recipient_id)
    execute function alias_route_refresh('account_id');
create trigger domain_route after update of default_recipient_id on domain
    for each row when (old.default_recipient_id is distinct from new.default_recipient_id)
    execute function alias_route_refresh('account_id');
create trigger handle_route after update of recipient_id on handle
    for each row when (old.recipient_id is distinct from new.recipient_id)
    execute function alias_route_refresh('account_id');
create trigger recipient_route after update of address, verified_at, pending on recipient
    for each row when (old.address <> new.address or (old.verified_at is null) <> (new.verified_at is null)
                       or old.pending <> new.pending)
    execute function alias_route_refresh('account_id');
create trigger recipient_route_gone after delete on recipient
    for each row execute function alias_route_refresh('account_id');

create function alias_listed_add() returns trigger language plpgsql as $$
begin
    with listed as (
        insert into alias_listed (id, route_id, domain_id, active, local_part, domain)
        select a.id, alias_route_of(a.id, a.account_id, a.state, a.username_id, a.domain_id, a.shared, a.handle_id),
               case when a.shared then coalesce(a.domain_id, 0) else 0 end, a.state = 'active', a.local_part,
               case when a.shared and a.domain_id is not null then null else a.domain end
        from added a
        returning id, domain_id, active
    )
    insert into list_tally (list, block, part, rows, active)
    select 'alias', id >> 9, domain_id, count(*), count(*) filter (where active) from listed group by 2, 3;
    return null;
end
$$;
create trigger alias_listed_add after insert on alias
    referencing new table as added for each statement execute function alias_listed_add();

create function alias_listed_keep() returns trigger language plpgsql as $$
declare
    before alias_listed;
    after  alias_listed;
begin
    select * into before from alias_listed where id = old.id;
    if tg_op = 'UPDATE' then
        update alias_listed
        set route_id = alias_route_of(
                new.id, new.account_id, new.state, new.username_id, new.domain_id, new.shared, new.handle_id),
            domain_id = case when new.shared then coalesce(new.domain_id, 0) else 0 end, active = new.state = 'active',
            local_part = new.local_part,
            domain = case when new.shared and new.domain_id is not null then null else new.domain end
        where id = old.id returning * into after;
        if (before.domain_id, before.active) is not distinct from (after.domain_id, after.active) then
            return null;
        end if;
        insert into list_tally (list, block, part, rows, active)
        values ('alias', after.id >> 9, after.domain_id, 1, after.active::integer);
    else
        delete from alias_listed where id = old.id;
    end if;
    insert into list_tally (list, block, part, rows, active)
    values ('alias', before.id >> 9, before.domain_id, -1, -before.active::integer);
    return null;
end
$$;
create trigger alias_listed_keep after update of
    account_id, local_part, domain, domain_id, username_id, handle_id, state on alias
    for each row when (
        (old.account_id, old.local_part, old.domain, old.domain_id, old.shared, old.username_id, old.handle_id,
         old.state) is distinct from
        (new.account_id, new.local_part, new.domain, new.domain_id, new.shared, new.username_id, new.handle_id,
         new.state))
    execute function alias_listed_keep();
create trigger alias_listed_remove after delete on alias
    for each row execute function alias_listed_keep();

create function alias_listed_reroute() returns trigger language plpgsql as $$
begin
    update alias_listed l set route_id = way.route_id
    from (
        select a.id, alias_route_of(
            a.id, a.account_id, a.state, a.username_id, a.domain_id, a.shared, a.handle_id) as route_id
        from (select distinct alias_id from changed) c join alias a on a.id = c.alias_id
        order by a.id offset 0      -- each is asked once
    ) way
    where l.id = way.id and l.route_id is distinct from way.route_id;
    return null;
end
$$;
create trigger alias_listed_attach after insert on alias_recipient
    referencing new table as changed for each statement execute function alias_listed_reroute();
create trigger alias_listed_detach after delete on alias_recipient
    referencing old table as changed for each statement execute function alias_listed_reroute();
create trigger alias_listed_reorder after update on alias_recipient
    referencing new table as changed for each statement execute function alias_listed_reroute();

create temporary table way on commit drop as
    select a.id, a.account_id,
           case when ar.recipient_id is not null then 'recipient' when a.handle_id is not null then 'handle'
                when a.username_id is not null then 'username'
                when a.domain_id is not null and not a.shared then 'domain' else 'account' end as kind,
           coalesce(ar.recipient_id, a.handle_id, a.username_id, case when not a.shared then a.domain_id end,
                    a.account_id) as object_id
    from alias a
    left join (
        select distinct on (x.alias_id) x.alias_id, x.recipient_id from alias_recipient x
        join recipient r on r.id = x.recipient_id and r.verified_at is not null and not r.pending
        order by x.alias_id, x.created_at, x.recipient_id
    ) ar on ar.alias_id = a.id
    where a.state in ('active', 'inactive');
insert into alias_route (account_id, kind, object_id, goto)
    select account_id, kind, object_id, alias_route_goto(account_id, kind, object_id)
    from way group by account_id, kind, object_id;
insert into alias_listed (id, route_id, domain_id, active, local_part, domain)
    select a.id, r.id, case when a.shared then coalesce(a.domain_id, 0) else 0 end, a.state = 'active', a.local_part,
           case when a.shared and a.domain_id is not null then null else a.domain end
    from alias a left join way w on w.id = a.id
    left join alias_route r on r.account_id = w.account_id and r.kind = w.kind and r.object_id = w.object_id
    order by a.id;
insert into list_tally (list, block, part, rows, active)
    select 'alias', id >> 9, domain_id, count(*), count(*) filter (where active) from alias_listed group by 2, 3;
insert into list_tally (list, block, part, rows, active)
    select 'ban', id >> 9, ban_type_part(type), count(*), count(*) filter (where revoked_at is null)
        from ban group by 2, 3 union all
    select 'handle', id >> 9, 0, count(*), count(*) filter (where state = 'active') from handle group by 2 union all
    select 'dns_request', id >> 9, 0, count(*), 0 from dns_request group by 2 union all
    select 'token', id >> 9, 0, count(*), 0 from token where kind = 'api_key' group by 2;

create index alias_listed_route on alias_listed (route_id, id) include (active);
create index alias_listed_elsewhere on alias_listed (id) include (domain, active) where domain_id = 0;
-- The planner must know how few groups there are, or else it does not count with several processes.
create statistics alias_listed_block on (id / 512) from alias_listed;
-- Finding parts of words takes pg_trgm, which comes with PostgreSQL's contrib modules; without, all rows are read. New
-- words are collected first, as each has many parts, but not so many that anybody would notice.
do $$
begin
    create extension if not exists pg_trgm with schema public;
    create index alias_listed_words on alias_listed using gin (local_part gin_trgm_ops, domain gin_trgm_ops)
        with (gin_pending_list_limit = 512);
    create index alias_route_words on alias_route using gin (goto gin_trgm_ops) with (gin_pending_list_limit = 512);
    create index handle_words on handle using gin (local_part gin_trgm_ops) with (gin_pending_list_limit = 512);
    create index ban_words on ban using gin (value gin_trgm_ops) with (gin_pending_list_limit = 512);
exception
    when undefined_file or feature_not_supported or insufficient_privilege then
        raise notice 'pg_trgm is not available: lists of aliases are searched slowly';
end
$$;
