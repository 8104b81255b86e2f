-- 0005: failed deliveries with what their owner asks about, recipients that are tried once a day, events for webhooks.
-- Locks: `alter table` locks outbound, recipient, alias, domain, failed_delivery and outbox for a moment; no released
-- version has written to outbox. The previous release still runs with it.

-- What the mail log tells of a copy, and which notification it is.
alter table outbound add column sent_at timestamptz;
alter table outbound add column remote text;
alter table outbound add column notice text;

alter table recipient add column probed_at timestamptz;
alter table recipient add column quarantines_tagged_at timestamptz;
create index recipient_failing on recipient (failing_since) where failing_since is not null;
drop trigger recipient_notify on recipient;
create trigger recipient_notify after update on recipient for each row
    when (old.verified_at is distinct from new.verified_at or old.pending <> new.pending
          or old.failing_since is distinct from new.failing_since or old.probed_at is distinct from new.probed_at
          or old.address <> new.address or old.account_id <> new.account_id)
    execute function notify_change('account', 'account_id');

alter table failed_delivery add column subject bytea;
create index failed_delivery_outbound_id on failed_delivery (outbound_id) where outbound_id is not null;

-- Lists of failed deliveries, by type, and their totals. This writes the table anew; it holds a week's failures.
alter table failed_delivery add column type text not null generated always as (case
    when ir_dedupe_key is not null then 'inbound' when quarantined then 'inbound_quarantined'
    when email_type = 'IR' then 'inbound' else 'outbound' end) stored;
create index failed_delivery_account_type on failed_delivery (account_id, type, created_at desc, id desc);

create table failed_total (
    account_id bigint not null,
    type       text not null,
    total      bigint not null,
    constraint failed_total_pkey primary key (account_id, type),
    constraint failed_total_account_fk foreign key (account_id) references account on delete cascade
) with (fillfactor = 50);   -- updated again and again, which touches no index (HOT)

-- Once per statement, at its end: so its locks come after all others, and nobody holds them for long.
create function count_failed_deliveries() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        insert into failed_total (account_id, type, total)
        select account_id, type, count(*) from changed group by account_id, type order by account_id, type
        on conflict on constraint failed_total_pkey do update set total = failed_total.total + excluded.total;
    else
        update failed_total set total = failed_total.total - s.rows
        from (
            select t.account_id, t.type, g.rows
            from (select account_id, type, count(*) as rows from changed group by account_id, type) g
                 join failed_total t using (account_id, type)
            order by t.account_id, t.type for no key update of t
        ) s
        where failed_total.account_id = s.account_id and failed_total.type = s.type;
    end if;
    return null;
end
$$;
create trigger failed_delivery_added after insert on failed_delivery
    referencing new table as changed for each statement execute function count_failed_deliveries();
create trigger failed_delivery_removed after delete on failed_delivery
    referencing old table as changed for each statement execute function count_failed_deliveries();

insert into failed_total (account_id, type, total)
select account_id, type, count(*) from failed_delivery group by account_id, type;

-- Entries of the ledger that the chronicle, which reads it once, found still queued: it looks at them again.
create table ledger_open (
    ledger_id bigint primary key           -- no foreign key: what retention has removed is not looked at any more
);

-- Jobs: whoever waits for work hears of it.
create function job_posted() returns trigger language plpgsql as $$
begin
    perform pg_notify('mailrelay_job', '');
    return null;
end
$$;
create trigger job_posted after insert on job for each statement execute function job_posted();

-- Events: each webhook remembers how far it has come, so that it can be sent back to an earlier one.
-- Nothing was ever written to the old one.
drop table outbox;
create table outbox (
    id         bigint generated always as identity primary key,
    uuid       uuid not null default gen_random_uuid(),
    account_id bigint,                     -- null: the installation's; no foreign key, events outlive accounts
    event      text not null,
    payload    jsonb not null,
    created_at timestamptz not null default now(),
    xact       xid8 not null default pg_current_xact_id(),
    constraint outbox_uuid_unique unique (uuid)
);
create index outbox_order on outbox (xact, id);
create index outbox_account_id on outbox (account_id, xact, id) where account_id is not null;
create index outbox_created_at on outbox (created_at);

create table webhook (
    id            bigint generated always as identity primary key,
    uuid          uuid not null default gen_random_uuid(),
    account_id    bigint,                  -- null: the installation's, hears of everybody
    url           text not null,
    events        text[] not null,         -- empty: all
    secret        bytea not null,          -- of the signature; encrypted at rest
    key_id        text not null,           -- the server key that it was encrypted with
    active        boolean not null default true,
    -- Of the last event that was delivered. A new one hears of all that is not yet known to be over.
    position_xact xid8 not null default pg_snapshot_xmin(pg_current_snapshot()),
    position_id   bigint not null default 0,
    failures      integer not null default 0,  -- in a row
    next_try_at   timestamptz not null default now(),  -- also how long a process has it for itself
    last_error    text,
    delivered_at  timestamptz,             -- the last success
    created_at    timestamptz not null default now(),
    updated_at    timestamptz not null default now(),
    constraint webhook_uuid_unique unique (uuid),
    constraint webhook_account_fk foreign key (account_id) references account on delete cascade,
    constraint webhook_url_octets check (octet_length(url) between 8 and 2000),
    constraint webhook_events_known check (events <@ array[
        'mail.forwarded', 'mail.blocked', 'mail.failed', 'alias.created', 'alias.deactivated', 'ban.hit',
        'domain.state']),
    constraint webhook_failures_positive check (failures >= 0)
) with (fillfactor = 50);                  -- every delivery changes the position, which no index holds
create index webhook_account_id on webhook (account_id);
create trigger webhook_touch before update of url, events, secret, active
    on webhook for each row execute function touch_updated_at();

-- Writes an event if a webhook wants it, in the transaction that makes it true.
create function announce(what text, account bigint, said jsonb) returns void language plpgsql as $$
begin
    if exists (
        select from webhook w
        where (w.account_id = account or w.account_id is null) and w.active
          and (w.events = '{}' or what = any (w.events)))
    then
        insert into outbox (account_id, event, payload) values (account, what, said);
    end if;
end
$$;

create function announce_alias() returns trigger language plpgsql as $$
begin
    if new.account_id is not null and new.state = 'active' and (tg_op = 'INSERT' or old.account_id is null) then
        perform announce('alias.created', new.account_id, jsonb_build_object(
            'alias', new.local_part || '@' || new.domain, 'alias_id', new.uuid));
    elsif tg_op = 'UPDATE' and old.state = 'active' and new.state <> 'active' then
        perform announce('alias.deactivated', coalesce(new.account_id, old.account_id), jsonb_build_object(
            'alias', new.local_part || '@' || new.domain, 'alias_id', new.uuid, 'state', new.state));
    end if;
    return null;
end
$$;
create trigger alias_announce after insert or update of state, account_id on alias
    for each row execute function announce_alias();

create function announce_failed_delivery() returns trigger language plpgsql as $$
begin
    perform announce('mail.failed', new.account_id, jsonb_build_object(
        'failed_delivery_id', new.uuid, 'email_type', new.email_type, 'bounce_type', new.bounce_type,
        'status', new.status, 'code', new.code, 'quarantined', new.quarantined,
        'alias_id', (select uuid from alias where id = new.alias_id)));
    return null;
end
$$;
create trigger failed_delivery_announce after insert on failed_delivery
    for each row when (new.email_type <> 'IR') execute function announce_failed_delivery();

create function announce_domain() returns trigger language plpgsql as $$
begin
    perform announce('domain.state', new.account_id, jsonb_build_object(
        'domain', new.name, 'domain_id', new.uuid, 'active', new.active,
        'verified', new.verified_at is not null, 'mx_verified', new.mx_verified_at is not null,
        'sending_verified', new.sending_verified_at is not null));
    return null;
end
$$;
create trigger domain_announce after update on domain for each row
    when (old.active <> new.active or (old.verified_at is null) <> (new.verified_at is null)
          or (old.mx_verified_at is null) <> (new.mx_verified_at is null)
          or (old.sending_verified_at is null) <> (new.sending_verified_at is null))
    execute function announce_domain();
