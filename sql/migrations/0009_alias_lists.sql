-- 0009: lists of aliases, searched and sorted.
-- Locks: creating the trigger keeps writers away from alias until its rows are copied: some seconds for a million. The
-- previous release still runs with it.

-- Text without the difference of capitals and small letters, of all scripts and whatever the database's locale. Only
-- ASCII ends in small letters: the small form of a sigma depends on what follows it, and ß has capitals of its own.
-- A server without ICU knows the capitals of its locale.
do $$
begin
    execute format(
        'create function fold_text(said text) returns text language sql immutable strict parallel safe
         return lower(upper(lower(said collate %1$I) collate %1$I) collate "C")',
        coalesce((select collname from pg_collation where collname = 'und-x-icu'), 'default'));
end
$$;

-- What lists of aliases are searched, filtered and sorted by, the counters too: a narrow copy, in parts, so that the rows
-- of an account with many aliases lie together and a list reads all of them. The triggers alias_search_* write it, and
-- nobody else; forgotten aliases are not in it.
create table alias_search (
    account_id       bigint not null,
    id               bigint not null,      -- the alias's, and so are the others
    created_at       timestamptz not null,
    pinned           boolean not null,
    state            text not null,
    address          text collate "C" not null,
    words            text collate "C",     -- the description, folded
    updated_at       timestamptz not null,
    emails_forwarded bigint not null,
    emails_blocked   bigint not null,
    emails_replied   bigint not null,
    emails_sent      bigint not null,
    username_id      bigint,
    domain_id        bigint,
    deleted_at       timestamptz,
    last_forwarded   timestamptz,
    last_blocked     timestamptz,
    last_replied     timestamptz,
    last_sent        timestamptz,
    constraint alias_search_pkey primary key (account_id, id)
) partition by hash (account_id);
do $$
begin
    for part in 0..15 loop
        execute format(
            'create table alias_search_%s partition of alias_search for values with (modulus 16, remainder %s)
             with (fillfactor = 85)',   -- the counters touch no index (HOT)
            part, part);
    end loop;
end
$$;
create function alias_search_keep() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        insert into alias_search (
            account_id, id, created_at, pinned, state, address, words, updated_at, emails_forwarded, emails_blocked,
            emails_replied, emails_sent, username_id, domain_id, deleted_at, last_forwarded, last_blocked, last_replied,
            last_sent)
        values (
            new.account_id, new.id, new.created_at, new.pinned, new.state, new.local_part || '@' || new.domain,
            fold_text(new.description), new.updated_at, new.emails_forwarded, new.emails_blocked, new.emails_replied,
            new.emails_sent, new.username_id, new.domain_id, new.deleted_at, new.last_forwarded, new.last_blocked,
            new.last_replied, new.last_sent);
    elsif tg_op = 'DELETE' or new.account_id is null then
        delete from alias_search where account_id = old.account_id and id = old.id;
    else
        update alias_search
        set account_id = new.account_id, created_at = new.created_at, pinned = new.pinned, state = new.state,
            address = new.local_part || '@' || new.domain, words = fold_text(new.description),
            updated_at = new.updated_at, username_id = new.username_id, domain_id = new.domain_id,
            deleted_at = new.deleted_at
        where account_id = old.account_id and id = old.id;
    end if;
    return null;
end
$$;
create trigger alias_search_add after insert on alias
    for each row when (new.account_id is not null) execute function alias_search_keep();
create trigger alias_search_remove after delete on alias
    for each row when (old.account_id is not null) execute function alias_search_keep();
-- The columns that alias_touch names, as it changes updated_at, and the times.
create trigger alias_search_keep after update of
    account_id, local_part, domain, domain_id, username_id, handle_id, state, deleted_at, extension, description,
    from_name, forward_mode, block_behaviour, reply_via_alias, attached_recipients_only, pinned, expires_at,
    max_forwards, sender_allow_list, created_at, updated_at
    on alias for each row execute function alias_search_keep();

create function alias_search_count() returns trigger language plpgsql as $$
begin
    update alias_search
    set emails_forwarded = new.emails_forwarded, emails_blocked = new.emails_blocked,
        emails_replied = new.emails_replied, emails_sent = new.emails_sent, last_forwarded = new.last_forwarded,
        last_blocked = new.last_blocked, last_replied = new.last_replied, last_sent = new.last_sent
    where account_id = old.account_id and id = old.id;     -- it comes before alias_search_keep
    return null;
end
$$;
create trigger alias_search_count after update of
    emails_forwarded, emails_blocked, emails_replied, emails_sent, last_forwarded, last_blocked, last_replied, last_sent
    on alias for each row execute function alias_search_count();

insert into alias_search (
    account_id, id, created_at, pinned, state, address, words, updated_at, emails_forwarded, emails_blocked,
    emails_replied, emails_sent, username_id, domain_id, deleted_at, last_forwarded, last_blocked, last_replied, last_sent)
select account_id, id, created_at, pinned, state, local_part || '@' || domain, fold_text(description), updated_at,
       emails_forwarded, emails_blocked, emails_replied, emails_sent, username_id, domain_id, deleted_at, last_forwarded,
       last_blocked, last_replied, last_sent
from alias where account_id is not null order by account_id, id;

create index alias_search_newest on alias_search (account_id, pinned, created_at, id);
