-- +goose Up
set local lock_timeout = '5s';

-- What Meta told of a message that is not stored, or not yet: its id, and what is
-- to be done to the message once it comes.
alter table channel_updates add column external_id text;
alter table channel_updates add column change json;
create index channel_updates_of_message on channel_updates (external_id, connection_id, tenant_id) where external_id is not null;

-- What a receipt up to a time may still find. WhatsApp's name each message.
create index messages_unread on messages (conversation_id, tenant_id, sent_at)
  where direction = 'outbound' and channel <> 'whatsapp' and status in ('accepted', 'sent', 'delivered');

-- +goose Down
drop index messages_unread;
drop index channel_updates_of_message;
alter table channel_updates drop column change;
alter table channel_updates drop column external_id;
