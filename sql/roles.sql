-- A role for the daemon with no more rights than it needs. Optional: without it the daemon works as the owner of the
-- database, which may also change the schema.
--
-- Run it once as the role that runs `mailrelay migrate` (the owner of the tables), after the first migration:
--
--     sudo -u postgres psql -v ON_ERROR_STOP=1 -d mailrelay -f sql/roles.sql
--
-- It may be repeated, also after a migration. Creating the role needs CREATEROLE; if it is there already, not.
-- The role has no password: with `local all mailrelay peer` in pg_hba.conf the system user of that name connects
-- through the unix socket, and nobody else does. `database.dsn` then says `user=mailrelay`. Keep running
-- `mailrelay migrate` as the owner (`mailrelay -c` with a DSN of its own).

do $$
begin
    if not exists (select from pg_roles where rolname = 'mailrelay') then
        create role mailrelay login nosuperuser nocreatedb nocreaterole noreplication nobypassrls;
    end if;
end
$$;

-- Before PostgreSQL 15 everybody may create tables here.
revoke create on schema public from public;
grant usage on schema public to mailrelay;

-- Rows, never tables: no truncate, no references, no triggers.
grant select, insert, update, delete on all tables in schema public to mailrelay;
alter default privileges in schema public grant select, insert, update, delete on tables to mailrelay;

-- What it needs to see only: whether the schema is current.
revoke insert, update, delete on schema_migration from mailrelay;
-- Reservations and names once used are for ever.
revoke update, delete on shared_local_part, username_used from mailrelay;
revoke delete on handle from mailrelay;
-- Records are not edited; retention deletes them.
revoke update on audit, api_log from mailrelay;
