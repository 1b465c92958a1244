-- What the scripts beside this one write into: people and their dialogs, in Hark's own schema.
-- 512 dialogs, of which a transaction of 256 messages takes 64; person 2k-1 talks to person 2k.

insert into users (email, first_name)
select format('writer-%s@example.org', n), format('Writer %s', n) from generate_series(1, 1024) n;

insert into conversations (kind, low_user_id, high_user_id)
select 'dialog', 2 * n - 1, 2 * n from generate_series(1, 512) n;

insert into members (conversation_id, user_id, kind, peer_id)
select c.id, side.user_id, 'dialog', c.low_user_id + c.high_user_id - side.user_id
from conversations c cross join lateral (values (c.low_user_id), (c.high_user_id)) side (user_id);

vacuum (analyze) users, conversations, members, messages;
