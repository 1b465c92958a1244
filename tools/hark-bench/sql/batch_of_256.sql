-- 256 messages a transaction: four into each of 64 dialogs. Each connection has dialogs of its own, so
-- that none waits for another's locks.
\set first :client_id * 64
with counted as (
    update conversations set last_seq = last_seq + 4, last_message_at = now(), change = 1
    where id > :first and id <= :first + 64
    returning id, last_seq - 4 as before, low_user_id
)
insert into messages (id, conversation_id, seq, sender_id, content, created_at, updated_at, created_change)
select nextval('message_ids'), id, before + nth, low_user_id, repeat('m', 100), now(), now(), 1
from counted, generate_series(1, 4) nth;
