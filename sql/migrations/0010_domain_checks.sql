-- 0010: domains of accounts are looked at in DNS, regularly: those that are here within the next day, those that wait for
-- something within the hour. Shared ones are from when they were found to be right once (`mailrelay domain check`).
-- Locks: dns_recheck, which is empty. The previous release still runs with it.
alter table dns_recheck add column failing_since timestamptz, add column failed_at timestamptz;
insert into dns_recheck (domain_id, type, next_check_at)
    select d.id, kind.type,
           now() + random() * case when d.mx_verified_at is null or d.sending_verified_at is null
                                   then interval '1 hour' else interval '1 day' end
    from domain d cross join (values ('EMAIL'), ('SENDING')) kind (type)
    where d.account_id is not null and d.verified_at is not null
    on conflict do nothing;
