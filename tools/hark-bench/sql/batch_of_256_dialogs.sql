-- 256 messages a transaction, each into a dialog of its own, as they come from as many senders. Each
-- connection has dialogs of its own, so there can be two.
\set first :client_id * 256
with counted as (
    update conversations set last_seq = last_seq + 1, last_message_at = now(), change = 1
    where id > :first and id <= :first + 256
    returning id, last_seq - 1 as before, low_user_id
)
insert into messages (id, conversation_id, seq, sender_id, content, created_at, updated_at, created_change)
select nextval('message_ids'), id, before + 1, low_user_id, repeat('m', 100), now(), now(), 1 from counted;
