--
-- What Dovecot may ask when a mail program logs in to send: one function, for a role of its own that sees nothing else.
-- Optional: only hosts that let users send through an alias with app passwords need it (conf/dovecot/README.md).
--
-- Run it once as a role that may create roles, after the first migration:
--
--     sudo -u postgres psql -v ON_ERROR_STOP=1 -d mailrelay -f sql/dovecot.sql
--
-- It may be repeated, and should be after an upgrade that changed it. The role has no password: with
-- `local mailrelay dovecot peer` in pg_hba.conf the system user of that name, as which Dovecot's auth process runs,
-- connects through the unix socket, and nobody else does.

do $$
begin
    if not exists (select from pg_roles where rolname = 'dovecot') then
        create role dovecot login nosuperuser nocreatedb nocreaterole noreplication nobypassrls;
    end if;
end
$$;

-- The hash to hold a password against, and the login as we write it; no row: that login has no such app password.
-- selector: the first 8 characters of the password, which are no secret and tell an account's passwords apart.
create or replace function app_password(login text, selector text) returns table ("user" text, password text)
language sql stable strict security definer set search_path = pg_catalog, public, pg_temp
as $$
    select r.address_folded, '{ARGON2ID}' || t.password_hash
    from recipient r
    join account a on a.id = r.account_id and a.state = 'active'
    join token t on t.account_id = a.id
    where r.address_folded = lower(login collate "C") and r.verified_at is not null and not r.pending
      and t.kind = 'app_password' and t.display = selector
      and t.revoked_at is null and (t.expires_at is null or t.expires_at > now())
    order by t.id limit 1
$$;

-- With the rights of whoever owns the tables, not of whoever ran this.
do $$
begin
    execute format('alter function app_password(text, text) owner to %I',
                   (select tableowner from pg_tables where schemaname = 'public' and tablename = 'token'));
end
$$;
revoke all on function app_password(text, text) from public;
grant usage on schema public to dovecot;
grant execute on function app_password(text, text) to dovecot;
