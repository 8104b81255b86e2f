-- 0012: domains are asked for and checked over HTTP. Whoever manages requests writes any word as their status. Forced
-- checks of all domains are noted while they run. Aliases whose domain was removed come back with it, found by an index.
-- The public total of forwarded mail begins with what aliases have counted.
-- Locks: dns_request, which is empty; alias against writing while the index is built, seconds for a million rows.
-- The previous release still runs with it.
alter table dns_request drop constraint dns_request_status_known;
alter table dns_request add constraint dns_request_status_grammar check (
    status = upper(status collate "C") and char_length(status) between 1 and 16);
create table dns_run (
    alone        boolean not null default true,
    target       text,
    started_at   timestamptz not null,
    leased_until timestamptz not null,
    constraint dns_run_pkey primary key (alone),
    constraint dns_run_is_one check (alone)
);
create index alias_without_domain on alias (domain) where domain_id is null and username_id is null;
insert into counter (name, total) select 'forwarded', coalesce(sum(emails_forwarded), 0) from alias
    on conflict do nothing;
