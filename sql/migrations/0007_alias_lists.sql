-- 0007: lists of aliases, searched and sorted.
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

-- What lists of aliases are searched, filtered and sorted by, but for the counters: narrow, and its index holds all of
-- it, so that a list reads an account's share from one place. Trigger alias_search_keep writes it; forgotten aliases
-- are not in it.
create table alias_search (
    id          bigint not null,           -- the alias's, and so are the others
    account_id  bigint not null,
    state       text not null,
    pinned      boolean not null,
    username_id bigint,
    domain_id   bigint,
    created_at  timestamptz not null,
    updated_at  timestamptz not null,
    deleted_at  timestamptz,
    address     text collate "C" not null,
    words       text collate "C",          -- the description, folded
    constraint alias_search_pkey primary key (id),
    constraint alias_search_alias_fk foreign key (id) references alias on delete cascade
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.02);  -- or rows are looked at

create function alias_search_keep() returns trigger language plpgsql as $$
begin
    if new.account_id is null then
        delete from alias_search where id = new.id;
    else
        insert into alias_search (id, account_id, state, pinned, username_id, domain_id, created_at, updated_at,
                                  deleted_at, address, words)
        values (new.id, new.account_id, new.state, new.pinned, new.username_id, new.domain_id, new.created_at,
                new.updated_at, new.deleted_at, new.local_part || '@' || new.domain, fold_text(new.description))
        on conflict on constraint alias_search_pkey do update
        set account_id = excluded.account_id, state = excluded.state, pinned = excluded.pinned,
            username_id = excluded.username_id, domain_id = excluded.domain_id, created_at = excluded.created_at,
            updated_at = excluded.updated_at, deleted_at = excluded.deleted_at, address = excluded.address,
            words = excluded.words;
    end if;
    return null;
end
$$;
-- The columns that alias_touch names, as it changes updated_at, and the times.
create trigger alias_search_keep after insert or update of
    account_id, local_part, domain, domain_id, username_id, handle_id, state, deleted_at, extension, description,
    from_name, forward_mode, block_behaviour, reply_via_alias, attached_recipients_only, pinned, expires_at,
    max_forwards, sender_allow_list, created_at, updated_at
    on alias for each row execute function alias_search_keep();

insert into alias_search (id, account_id, state, pinned, username_id, domain_id, created_at, updated_at, deleted_at,
                          address, words)
select id, account_id, state, pinned, username_id, domain_id, created_at, updated_at, deleted_at,
       local_part || '@' || domain, fold_text(description)
from alias where account_id is not null order by id;

create index alias_search_list on alias_search (account_id, pinned, created_at, id)   -- read from its end
    include (state, username_id, domain_id, updated_at, deleted_at, address, words);
