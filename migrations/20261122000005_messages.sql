-- Messages and reactions, the views that put together what clients read, and write_messages, the one
-- way in which a message is stored.

-- There are no foreign keys here: write_messages alone inserts into this table, it has locked the
-- conversation and seen the sender in the same transaction, and rows of both are never deleted. Two
-- look-ups and two row locks a message would be the most expensive part of a send.
create table messages (
    -- From message_ids. It is no identity column: write_messages takes the id first, so that it need not
    -- join its rows back.
    id                bigint primary key,
    conversation_id   bigint not null,
    -- Place in the conversation, dense from 1, see conversations.last_seq.
    seq               bigint not null,
    sender_id         bigint not null,
    -- Empty if the message was deleted.
    content           text not null,
    -- The idempotency key that the client chose for the send, if it did.
    client_message_id text,
    created_at        timestamptz(3) not null,
    updated_at        timestamptz(3) not null,
    deleted_at        timestamptz(3),
    -- The message of the same conversation that this one replies to.
    reply_to_id       bigint,
    -- Change number (see current_change) of the transaction that stored it. Within a conversation,
    -- messages become visible to snapshots in the order of `seq`.
    created_change    bigint not null default 0,

    constraint one_message_per_seq unique (conversation_id, seq)
);

create sequence message_ids as bigint owned by messages.id;

-- This index makes a send idempotent: a repeat is recognised at any time, on any node.
create unique index one_message_per_client_id on messages (sender_id, client_message_id) where client_message_id is not null;

-- One reaction of one user to one message. A message that is deleted loses its reactions.
create table reactions (
    message_id bigint not null,
    user_id    bigint not null,
    reaction   text not null,
    created_at timestamptz(3) not null default now(),

    primary key (message_id, user_id)
);

-- A message with all that clients read of it: names, the message replied to, reactions. Queries find the
-- few ids of a page and join this view to them, which puts its rows together one by one.
create view message_items as
select m.id, m.conversation_id, m.seq, m.sender_id, s.name as sender_name,
       r.id as receiver_id, r.name as receiver_name,
       case when c.kind = 'group' then c.id end as group_id, c.name as group_name,
       m.content, m.created_at, m.updated_at, m.deleted_at, m.client_message_id,
       q.id as reply_id, q.sender_id as reply_sender_id, qs.name as reply_sender_name, q.content as reply_content,
       x.user_ids as reaction_user_ids, x.reactions
from messages m
join conversations c on c.id = m.conversation_id
join users s on s.id = m.sender_id
left join users r on r.id = c.low_user_id + c.high_user_id - m.sender_id
left join messages q on q.id = m.reply_to_id
left join users qs on qs.id = q.sender_id
left join lateral (
    select array_agg(y.user_id order by y.created_at, y.user_id) as user_ids,
           array_agg(y.reaction order by y.created_at, y.user_id) as reactions
    from reactions y where y.message_id = m.id
) x on true;

-- A conversation as one of its members sees it, a row for each member. Queries find the few ids of a page
-- and join this view to them.
create view conversation_states as
select me.user_id, c.id, c.kind = 'group' as is_group, c.name as group_name,
       p.id as peer_id, p.name as peer_name,
       c.last_seq, me.cleared_seq, me.read_seq, me.delivered_seq,
       unread_count(c, me) as unread_count,
       me.is_spam, me.is_admin, me.joined_at,
       last.id as last_message_id,
       coalesce(c.last_message_at, c.created_at) as last_activity_at
from members me
join conversations c on c.id = me.conversation_id
left join users p on p.id = me.peer_id
left join messages last on last.conversation_id = c.id and last.seq = c.last_seq and c.last_seq > me.cleared_seq;

-- Stores a whole batch of sends in one call, which is one transaction and one round trip, and returns one
-- row for each send.
--
-- Arguments. The first four arrays are the conversations of the batch, each once: dialogs by their pairs
-- of users, in order, and then groups, in order, with the version of the member list that the node has,
-- or null. If that version is old, the list is returned with the group's first stored message.
-- Element i of the other arrays is one send, and its slot is the conversation that it goes to: an index
-- into the first four arrays, from 1. A batch never holds two sends with the same sender and client id.
--
-- Locks. It locks the rows of the conversations (FOR NO KEY UPDATE), in the order of the arrays, makes the
-- dialogs that are missing, and only then reads anything, each in a statement of its own: a statement
-- that waits for a lock keeps the snapshot from before the wait, and would not see a removal, a repeat or
-- a `seq` that another node committed meanwhile.
--
-- A batch of several conversations does not wait for one that another transaction has locked: the sends
-- to it have the outcome `locked`, nothing of them is stored, and the others go on. With
-- `waits_for_lock` it waits, up to lock_timeout, which is for a batch of one conversation: a call that
-- waits holds no other lock. So two batches cannot wait for each other, unless both make the same
-- dialogs: then PostgreSQL ends one of them, and its writer retries.
--
-- Plan. One plan serves every batch, see the settings of Hark's connections: planning these statements
-- anew takes longer than they run on a small batch, and what is cheapest, one index look-up a row, does
-- not depend on the values. A small batch pays for each node of the plan, so what few sends need is kept
-- out of it.
create function write_messages(
    low_user_ids bigint[], high_user_ids bigint[], group_ids bigint[], known_versions bigint[],
    slots integer[], sender_ids bigint[], receiver_ids bigint[], contents text[], client_ids text[],
    reply_to_ids bigint[], waits_for_lock boolean default true
) returns table (
    ordinal         bigint,   -- place in the batch, from 1
    -- stored, repeat, locked, unauthorized, no_such_user, no_such_group, not_a_member, blocked, no_such_message
    outcome         text,
    conversation_id bigint,
    message_id      bigint,
    seq             bigint,
    created_at      timestamptz,
    previous_at     timestamptz,  -- creation time of the conversation's message before this one
    sender_name     text,
    receiver_name   text,
    group_name      text,
    reply_sender_id   bigint,  -- of the message that this one replies to
    reply_sender_name text,
    reply_content     text,
    member_version  bigint,
    member_ids      bigint[]
) language plpgsql set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
    stored_at     timestamptz(3);
    change_number bigint;    -- of this transaction, as current_change returns it
    lacks_dialog  boolean;   -- whether there are dialogs to be made
    lacks_any     boolean;   -- whether any conversation was not found
    has_groups    boolean;   -- whether there are groups
    -- Of each conversation, whether another transaction has locked it; null if none is locked.
    is_locked        boolean[];
    -- Of each conversation, null if there is none.
    conversation_ids bigint[];
    last_seqs        bigint[];       -- before this batch
    last_message_ats timestamptz[];  -- before this batch
    group_names      text[];
    member_versions  bigint[];
    -- Of each send, the message that it replies to; null if there is none.
    reply_senders  bigint[];
    reply_names    text[];
    reply_contents text[];
begin
    for attempt in 1..2 loop
        -- In the order of the arrays: a lateral subquery that locks is run for one element after the other.
        -- The two queries are the same but for SKIP LOCKED.
        if waits_for_lock then
            select array_agg(coalesce(d.id, g.id)), array_agg(coalesce(d.last_seq, g.last_seq)),
                   array_agg(coalesce(d.last_message_at, g.last_message_at)), array_agg(g.name), array_agg(g.member_version),
                   bool_or(i.low is not null and d.id is null), bool_or(d.id is null and g.id is null), bool_or(g.id is not null),
                   (select pg_current_xact_id()::text::bigint + xid_offset from change_clock)
            into conversation_ids, last_seqs, last_message_ats, group_names, member_versions,
                 lacks_dialog, lacks_any, has_groups, change_number
            from unnest(low_user_ids, high_user_ids, group_ids) as i (low, high, group_id)
            left join lateral (
                select c.id, c.last_seq, c.last_message_at from conversations c
                where c.low_user_id = i.low and c.high_user_id = i.high
                for no key update) d on true
            left join lateral (
                select c.id, c.last_seq, c.last_message_at, c.name, c.member_version from conversations c
                where c.id = i.group_id and c.kind = 'group' and c.ended_at is null
                for no key update) g on true;
        else
            select array_agg(coalesce(d.id, g.id)), array_agg(coalesce(d.last_seq, g.last_seq)),
                   array_agg(coalesce(d.last_message_at, g.last_message_at)), array_agg(g.name), array_agg(g.member_version),
                   bool_or(i.low is not null and d.id is null), bool_or(d.id is null and g.id is null), bool_or(g.id is not null),
                   (select pg_current_xact_id()::text::bigint + xid_offset from change_clock)
            into conversation_ids, last_seqs, last_message_ats, group_names, member_versions,
                 lacks_dialog, lacks_any, has_groups, change_number
            from unnest(low_user_ids, high_user_ids, group_ids) as i (low, high, group_id)
            left join lateral (
                select c.id, c.last_seq, c.last_message_at from conversations c
                where c.low_user_id = i.low and c.high_user_id = i.high
                for no key update skip locked) d on true
            left join lateral (
                select c.id, c.last_seq, c.last_message_at, c.name, c.member_version from conversations c
                where c.id = i.group_id and c.kind = 'group' and c.ended_at is null
                for no key update skip locked) g on true;
        end if;
        -- What exists and was not found is locked by another transaction.
        is_locked := null;
        if lacks_any and not waits_for_lock then
            select array_agg(conversation_ids[i.slot] is null and (
                       exists (select from conversations c where c.low_user_id = i.low and c.high_user_id = i.high)
                       or exists (select from conversations c where c.id = i.group_id and c.kind = 'group' and c.ended_at is null)
                   ) order by i.slot)
            into is_locked
            from unnest(low_user_ids, high_user_ids, group_ids) with ordinality as i (low, high, group_id, slot);
        end if;
        exit when attempt = 2 or not lacks_dialog;

        -- First sends make their dialogs.
        with missing_dialogs as (
            select distinct low_user_ids[i.slot] as low, high_user_ids[i.slot] as high
            from unnest(slots, sender_ids, receiver_ids, client_ids) as i (slot, sender, receiver, client_id)
            where i.receiver is not null and conversation_ids[i.slot] is null and is_locked[i.slot] is not true
              and exists (select from users u where u.id = i.sender and u.deleted_at is null)
              and exists (select from users u where u.id = i.receiver and u.deleted_at is null)
              and not exists (select from blocks b where b.user_id = i.receiver and b.blocked_id = i.sender)
              and not exists (select from messages m where m.sender_id = i.sender and m.client_message_id = i.client_id)
        ), new_dialogs as (
            insert into conversations (kind, low_user_id, high_user_id)
            select 'dialog', low, high from missing_dialogs order by low, high
            on conflict on constraint one_dialog_per_pair do nothing
            returning id, low_user_id, high_user_id
        )
        insert into members (conversation_id, user_id, kind, peer_id)
        select id, low_user_id, 'dialog'::conversation_kind, high_user_id from new_dialogs
        union
        select id, high_user_id, 'dialog', low_user_id from new_dialogs;
    end loop;

    stored_at := clock_timestamp();

    -- A message that was deleted, or that the sender has cleared, cannot be replied to.
    if array_remove(reply_to_ids, null) <> '{}' then
        select array_agg(q.sender_id order by i.ordinal), array_agg(u.name order by i.ordinal),
               array_agg(q.content order by i.ordinal)
        into reply_senders, reply_names, reply_contents
        from unnest(slots, sender_ids, reply_to_ids) with ordinality as i (slot, sender, reply_to, ordinal)
        -- By its id alone: a planner without statistics would scan the conversation for it.
        left join lateral (select m.* from messages m where m.id = i.reply_to limit 1) q
                          on q.conversation_id = conversation_ids[i.slot] and q.deleted_at is null
                         and q.seq > (select m.cleared_seq from members m
                                      where m.conversation_id = conversation_ids[i.slot] and m.user_id = i.sender)
        left join users u on u.id = q.sender_id;
    end if;

    return query
    with decided as materialized (
        select j.*, case when j.outcome = 'stored' then nextval('message_ids') end as id,
               count(*) filter (where j.outcome = 'stored') over (partition by j.slot order by j.ordinal) as nth
        from (
            select i.ordinal, i.slot, i.sender, s.name as sender_name, r.name as receiver_name,
                   before.id as repeat_id, before.seq as repeat_seq, before.created_at as repeat_at,
                   case
                       when is_locked[i.slot] then 'locked'
                       when s.id is null or s.deleted_at is not null then 'unauthorized'
                       when before.id is not null then 'repeat'
                       when i.receiver is not null and (r.id is null or r.deleted_at is not null) then 'no_such_user'
                       when b.user_id is not null then 'blocked'
                       -- The receiver has signed up, or unblocked the sender, since the dialogs were created.
                       when i.receiver is not null and conversation_ids[i.slot] is null then 'no_such_user'
                       when conversation_ids[i.slot] is null then 'no_such_group'
                       when i.receiver is null and (select m.user_id from members m
                                                    where m.conversation_id = conversation_ids[i.slot]
                                                      and m.user_id = i.sender) is null then 'not_a_member'
                       when reply_to_ids[i.ordinal] is not null and reply_senders[i.ordinal] is null then 'no_such_message'
                       else 'stored'
                   end as outcome
            from unnest(slots, sender_ids, receiver_ids, client_ids) with ordinality
                 as i (slot, sender, receiver, client_id, ordinal)
            left join users s on s.id = i.sender
            left join users r on r.id = i.receiver
            left join blocks b on b.user_id = i.receiver and b.blocked_id = i.sender
            left join messages before on before.sender_id = i.sender and before.client_message_id = i.client_id
            -- An optimizer fence: the outcome is computed once, not at each use.
            offset 0
        ) j
    ), inserted as (
        insert into messages (id, conversation_id, seq, sender_id, content, client_message_id, reply_to_id,
                              created_at, updated_at, created_change)
        select j.id, conversation_ids[j.slot], last_seqs[j.slot] + j.nth, j.sender, contents[j.ordinal], client_ids[j.ordinal],
               reply_to_ids[j.ordinal], stored_at, stored_at, change_number
        from decided j where j.outcome = 'stored'
    ), counted as (
        update conversations c
        set last_seq = c.last_seq + n.stored, low_sent = c.low_sent + n.of_low, last_message_at = stored_at,
            change = change_number
        from (select j.slot, count(*) as stored, count(*) filter (where j.sender = low_user_ids[j.slot]) as of_low
              from decided j where j.outcome = 'stored' group by j.slot) n
        where c.id = conversation_ids[n.slot]
    )
    select j.ordinal, j.outcome, conversation_ids[j.slot], coalesce(j.id, j.repeat_id),
           case when j.id is null then j.repeat_seq else last_seqs[j.slot] + j.nth end,
           case when j.id is null then j.repeat_at else stored_at end,
           case when j.nth = 1 then last_message_ats[j.slot] else stored_at end,
           j.sender_name, j.receiver_name, group_names[j.slot],
           reply_senders[j.ordinal], reply_names[j.ordinal], reply_contents[j.ordinal], member_versions[j.slot],
           case when j.id is not null and j.nth = 1 and member_versions[j.slot] is distinct from known_versions[j.slot]
                then (select array_agg(m.user_id) from members m where m.conversation_id = conversation_ids[j.slot]) end
    from decided j;

    -- The messages of groups that were just stored are those past the earlier last_seq.
    if has_groups then
        update members m set sent = m.sent + n.sent
        from (select x.conversation_id, x.sender_id, count(*) as sent
              from unnest(group_ids, conversation_ids, last_seqs) as i (group_id, id, seq)
              join messages x on x.conversation_id = i.id and x.seq > i.seq
              where i.group_id is not null
              group by x.conversation_id, x.sender_id) n
        where m.conversation_id = n.conversation_id and m.user_id = n.sender_id;
    end if;
end
$$;
