-- 0011: rules of handles name their domain, which need not be one of ours: they outlive its removal and hold again when
-- it is back.
-- Locks: handle and handle_domain_off for a moment. The previous release asks for the column that is gone with every
-- recipient of an alias: Postfix defers that mail until its daemons are restarted as this one's.
create table handle_rule (
    handle_id   bigint not null,
    domain      text not null,             -- need not be one of ours
    active      boolean not null default true,   -- false: it takes mail there again
    modified_at timestamptz not null default now(),
    constraint handle_rule_pkey primary key (handle_id, domain),
    constraint handle_rule_handle_fk foreign key (handle_id) references handle on delete cascade,
    constraint handle_rule_domain_grammar check (
        domain collate "C" ~ '^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'
        and octet_length(domain) <= 253)
);
insert into handle_rule (handle_id, domain, modified_at)
    select o.handle_id, d.name, o.created_at from handle_domain_off o join domain d on d.id = o.domain_id;
drop table handle_domain_off;
alter table handle_rule rename to handle_domain_off;
alter table handle_domain_off rename constraint handle_rule_pkey to handle_domain_off_pkey;
alter table handle_domain_off rename constraint handle_rule_handle_fk to handle_domain_off_handle_fk;
alter table handle_domain_off rename constraint handle_rule_domain_grammar to handle_domain_off_domain_grammar;
create trigger handle_domain_off_notify after insert or update or delete on handle_domain_off
    for each row execute function notify_change('handle', 'handle_id');

-- What a mailbox confirmed is listed for its owner.
create index confirmation_confirmed on confirmation (email, confirmed_at desc) where status = 'confirmed';
