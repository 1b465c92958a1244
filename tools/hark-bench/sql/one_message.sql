-- One message, as plainly as PostgreSQL can store it: one statement, one commit.
\set conversation random(1, 512)
with counted as (
    update conversations set last_seq = last_seq + 1, last_message_at = now(), change = 1
    where id = :conversation
    returning id, last_seq, low_user_id
)
insert into messages (id, conversation_id, seq, sender_id, content, created_at, updated_at, created_change)
select nextval('message_ids'), id, last_seq, low_user_id, repeat('m', 100), now(), now(), 1 from counted;
