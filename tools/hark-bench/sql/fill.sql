-- Messages by SQL, as the server would have stored them, so that its pages can be measured in a history
-- of any size. The reader has 10,000 dialogs and a group of 20; the dialog with the first peer and the
-- group are long. Others talk as well, and all messages lie in the table in the order of their time.
--
--   psql -v reader=ID    user who reads
--        -v messages=N   how many in all; they go round through the slots of a turn:
--        -v slots=S      one for the long dialog, one for the group,
--        -v dialogs=D      so many for the reader's other dialogs, and the rest for
--        -v others=C       dialogs of other people, so many of them
\set ON_ERROR_STOP on
set maintenance_work_mem = '512MB';
set work_mem = '256MB';
set synchronous_commit = off;
-- What is compiled has to be of use for longer than this takes.
set jit = off;

begin;
select current_change() as change \gset

insert into users (email, first_name)
select format('peer-%s@example.org', n), format('Peer %s', n) from generate_series(1, 10000) n;
select currval(pg_get_serial_sequence('users', 'id')) - 10000 as before_peers \gset

select coalesce(max(id), 0) as base from conversations \gset
insert into conversations (kind, low_user_id, high_user_id)
select 'dialog', :reader, :before_peers + n from generate_series(1, 10000) n;
insert into conversations (kind, name) values ('group', 'A long one');
insert into conversations (kind, low_user_id, high_user_id)
select 'dialog', :before_peers + 1 + n % 5000, :before_peers + 5001 + (n % 5000 + n / 5000) % 5000
from generate_series(0, :others - 1) n;
select :base + 1 as long_dialog, :base + 10001 as the_group, :base + 10002 as first_other \gset

-- Without its indexes, which are made at the end in one go each.
alter table messages drop constraint messages_pkey, drop constraint one_message_per_seq;
drop index one_message_per_client_id;

insert into messages (id, conversation_id, seq, sender_id, content, created_at, updated_at, created_change)
select g + 1, p.conversation, p.seq,
       case when p.conversation = :the_group
            then case when p.seq % 20 = 0 then :reader else :before_peers + p.seq % 20 end
            else p.pair[1 + p.seq % 2] end,
       format('Message %s of this conversation, as long as messages are on the average.', p.seq),
       at, at, :change
from (
    select g, at, conversation, seq,
           case when conversation < :the_group then array[:reader, :before_peers + conversation - :base]
                else array[:before_peers + 1 + (conversation - :first_other) % 5000,
                           :before_peers + 5001 + ((conversation - :first_other) % 5000
                                                   + (conversation - :first_other) / 5000) % 5000] end as pair
    from (
        select g, date_trunc('milliseconds', now()) - (:messages - g) * interval '50 milliseconds' as at,
               case when slot = 0 then :long_dialog
                    when slot = 1 then :the_group
                    when slot < 2 + :dialogs then :long_dialog + 1 + nth_of_dialogs % 9999
                    else :first_other + nth_of_others % nullif(:others, 0) end as conversation,
               case when slot < 2 then turn + 1
                    when slot < 2 + :dialogs then nth_of_dialogs / 9999 + 1
                    else nth_of_others / nullif(:others, 0) + 1 end as seq
        from (
            select g, g % :slots as slot, g / :slots as turn,
                   g / :slots * :dialogs + g % :slots - 2 as nth_of_dialogs,
                   g / :slots * (:slots - 2 - :dialogs) + g % :slots - 2 - :dialogs as nth_of_others
            from generate_series(0::bigint, :messages - 1) g
        ) slots
    ) places
) p;
select setval('message_ids', :messages) \gset
-- As if the words of all of them were in the search's index: it is not what is measured.
update search_progress set indexed_to = :messages;

alter table messages add constraint messages_pkey primary key (id),
                     add constraint one_message_per_seq unique (conversation_id, seq);
create unique index one_message_per_client_id on messages (sender_id, client_message_id) where client_message_id is not null;

create temporary table said on commit drop as
select conversation_id, sender_id, count(*) as sent, max(seq) as last_seq, max(created_at) as last_message_at
from messages group by conversation_id, sender_id;

insert into members (conversation_id, user_id, kind, peer_id, sent, change)
select c.id, side.user_id, c.kind, c.low_user_id + c.high_user_id - side.user_id,
       case when c.kind = 'group' then coalesce(s.sent, 0) else 0 end, :change
from conversations c
cross join lateral (
    select c.low_user_id where c.kind = 'dialog'
    union all select c.high_user_id where c.kind = 'dialog'
    union all select :reader where c.kind = 'group'
    union all select :before_peers + n from generate_series(1, 19) n where c.kind = 'group'
) side (user_id)
left join said s on s.conversation_id = c.id and s.sender_id = side.user_id
where c.id > :base;

update conversations c
set last_seq = s.last_seq, last_message_at = s.last_message_at, low_sent = s.low_sent, change = :change
from (select s.conversation_id, max(s.last_seq) as last_seq, max(s.last_message_at) as last_message_at,
             coalesce(sum(s.sent) filter (where s.sender_id = d.low_user_id), 0) as low_sent
      from said s join conversations d on d.id = s.conversation_id group by s.conversation_id) s
where s.conversation_id = c.id;
commit;

-- What PostgreSQL would do by itself, later and in the middle of a measurement.
vacuum (analyze) messages, conversations, members, users;
