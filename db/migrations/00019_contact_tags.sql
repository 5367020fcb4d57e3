-- +goose Up
set local lock_timeout = '5s';

-- Which of a tenant's contacts have a tag, in an order that a list can be read in. A
-- trigger keeps it: whoever changes or removes a contact need not know of it.
create table contact_tags (
  tenant_id  uuid not null,
  tag        text not null,
  contact_id uuid not null,
  primary key (tenant_id, tag, contact_id)
);
create index contact_tags_by_contact on contact_tags (contact_id);
alter table contact_tags enable row level security;
alter table contact_tags force row level security;
create policy tenant on contact_tags to primezap_api
  using (tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid));
create policy worker on contact_tags to primezap_worker using (true);
grant select, insert, delete on contact_tags to primezap_api, primezap_worker;

-- A contact that turned out to be another has no tags of her own.
-- +goose StatementBegin
create function keep_contact_tags() returns trigger
  language plpgsql set search_path = pg_catalog, public, pg_temp as $$
begin
  if tg_op <> 'INSERT' then
    delete from public.contact_tags t where t.contact_id = old.id;
  end if;
  if tg_op <> 'DELETE' and new.merged_into is null then
    insert into public.contact_tags (tenant_id, tag, contact_id)
    select distinct new.tenant_id, tag, new.id from unnest(new.tags) as tag;
  end if;
  return null;
end
$$;
-- +goose StatementEnd
create trigger tags_of_new after insert on contacts
  for each row when (cardinality(new.tags) > 0) execute function keep_contact_tags();
create trigger tags_of_changed after update of tags, merged_into on contacts
  for each row when (new.tags is distinct from old.tags or new.merged_into is distinct from old.merged_into)
  execute function keep_contact_tags();
create trigger tags_of_removed after delete on contacts
  for each row when (cardinality(old.tags) > 0) execute function keep_contact_tags();
insert into contact_tags (tenant_id, tag, contact_id)
select distinct tenant_id, unnest(tags), id from contacts where merged_into is null;

-- Row security asks for the tenant in every query of the api: an index with it is the
-- better one even for a server that knows nothing of the data yet.
drop index contacts_by_phone;
create index contacts_by_phone on contacts (phone, tenant_id, id) where phone is not null;
drop index contact_identities_by_contact;
create index contact_identities_by_contact on contact_identities (contact_id, tenant_id);
drop index conversations_by_contact;
create index conversations_by_contact on conversations (contact_id, tenant_id, id);
drop index messages_by_conversation;
create index messages_by_conversation on messages (conversation_id, tenant_id, id);

-- Lists of contacts that are not another's.
create index contacts_live on contacts (tenant_id, (merged_into is null), id) where merged_into is null;

-- Lists of those in a state. Neither column changes with a message.
create index conversations_by_status on conversations (tenant_id, status, id);
create index conversations_by_connection_status on conversations (connection_id, status, id);

-- +goose Down
drop index conversations_by_connection_status;
drop index conversations_by_status;
drop index contacts_live;
drop index messages_by_conversation;
create index messages_by_conversation on messages (conversation_id, id);
drop index conversations_by_contact;
create index conversations_by_contact on conversations (contact_id, id);
drop index contact_identities_by_contact;
create index contact_identities_by_contact on contact_identities (contact_id);
drop index contacts_by_phone;
create index contacts_by_phone on contacts (phone, tenant_id) where phone is not null;
drop trigger tags_of_removed on contacts;
drop trigger tags_of_changed on contacts;
drop trigger tags_of_new on contacts;
drop function keep_contact_tags();
drop table contact_tags;
