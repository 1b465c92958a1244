-- The durable write goes past conversations that somebody else has locked: one of them does not hold up
-- the sends to all others.

drop function write_messages(bigint[], bigint[], bigint[], bigint[], integer[], bigint[], bigint[], text[], text[], bigint[]);

-- A whole batch of sends in one call, which is one transaction and one round trip.
--
-- The first four arrays are the conversations of the batch, each once: dialogs by their pairs of users,
-- in order, and then groups, in order, with the version of the member list that the node has, or null.
-- Only where that is old does the list come back, with the group's first stored message. Element i of
-- the other arrays is one send, and its place the conversation it goes to, from 1. A batch never holds
-- two sends with the same sender and client id.
--
-- The conversations are locked first and looked at afterwards, each in a statement of its own: a
-- statement that waits for a lock keeps the snapshot from before the wait, and would not see a removal
-- or a repeat that another node committed meanwhile.
--
-- A batch of several conversations does not wait for one that somebody else has locked: the sends to it
-- have the outcome `locked`, nothing of them is stored, and the others go on. With `patient` it waits, up
-- to lock_timeout, which is for a batch of one conversation: who waits holds no other. So two batches
-- cannot wait for each other, unless both make the same dialogs: then PostgreSQL ends one of them, and its
-- writer tries again.
--
-- One plan for every batch, see the settings of Hark's connections. What is joined is looked up row by
-- row; a small batch pays for each node of the plan, so what few sends need is kept out of it.
create function write_messages(
    lows bigint[], highs bigint[], groups bigint[], known_versions bigint[],
    places integer[], senders bigint[], receivers bigint[], contents text[], client_ids text[], replies_to bigint[],
    patient boolean default true
) returns table (
    ordinal         bigint,   -- place in the batch, from 1
    outcome         text,     -- stored, repeat, locked, unauthorized, no_such_user, no_such_group, not_a_member, blocked, no_such_message
    conversation_id bigint,
    message_id      bigint,
    seq             bigint,
    created_at      timestamptz,
    previous_at     timestamptz,  -- when the conversation's message before this batch came
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
    stamped  timestamptz(3);
    number   bigint;    -- of this transaction, see current_change
    missing  boolean;   -- whether there are dialogs to be made
    absent   boolean;   -- whether any conversation was not found
    grouped  boolean;   -- whether there are groups
    -- Whether somebody else has locked each conversation; null where nobody has locked any.
    locked   boolean[];
    -- Of each conversation, null where there is none.
    ids      bigint[];
    seqs     bigint[];  -- last_seq before this batch
    moved    timestamptz[];
    names    text[];
    versions bigint[];
    -- Of each send, what it replies to: null where that is nothing.
    reply_senders  bigint[];
    reply_names    text[];
    reply_contents text[];
begin
    for attempt in 1..2 loop
        -- In the order of the arrays: a lateral subquery that locks is run for one element after the other.
        -- Twice the same but for SKIP LOCKED.
        if patient then
            select array_agg(coalesce(d.id, g.id)), array_agg(coalesce(d.last_seq, g.last_seq)),
                   array_agg(coalesce(d.last_message_at, g.last_message_at)), array_agg(g.name), array_agg(g.member_version),
                   bool_or(i.low is not null and d.id is null), bool_or(d.id is null and g.id is null), bool_or(g.id is not null),
                   (select pg_current_xact_id()::text::bigint + shift from change_clock)
            into ids, seqs, moved, names, versions, missing, absent, grouped, number
            from unnest(lows, highs, groups) as i (low, high, group_id)
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
                   (select pg_current_xact_id()::text::bigint + shift from change_clock)
            into ids, seqs, moved, names, versions, missing, absent, grouped, number
            from unnest(lows, highs, groups) as i (low, high, group_id)
            left join lateral (
                select c.id, c.last_seq, c.last_message_at from conversations c
                where c.low_user_id = i.low and c.high_user_id = i.high
                for no key update skip locked) d on true
            left join lateral (
                select c.id, c.last_seq, c.last_message_at, c.name, c.member_version from conversations c
                where c.id = i.group_id and c.kind = 'group' and c.ended_at is null
                for no key update skip locked) g on true;
        end if;
        -- What is there and was not found is locked by somebody else.
        locked := null;
        if absent and not patient then
            select array_agg(ids[i.place] is null and (
                       exists (select from conversations c where c.low_user_id = i.low and c.high_user_id = i.high)
                       or exists (select from conversations c where c.id = i.group_id and c.kind = 'group' and c.ended_at is null)
                   ) order by i.place)
            into locked
            from unnest(lows, highs, groups) with ordinality as i (low, high, group_id, place);
        end if;
        exit when attempt = 2 or not missing;

        -- First sends make their dialogs.
        with wanted as (
            select distinct lows[i.place] as low, highs[i.place] as high
            from unnest(places, senders, receivers, client_ids) as i (place, sender, receiver, client_id)
            where i.receiver is not null and ids[i.place] is null and locked[i.place] is not true
              and exists (select from users u where u.id = i.sender and u.deleted_at is null)
              and exists (select from users u where u.id = i.receiver and u.deleted_at is null)
              and not exists (select from blocks b where b.user_id = i.receiver and b.blocked_id = i.sender)
              and not exists (select from messages m where m.sender_id = i.sender and m.client_message_id = i.client_id)
        ), made as (
            insert into conversations (kind, low_user_id, high_user_id)
            select 'dialog', low, high from wanted order by low, high
            on conflict on constraint one_dialog_a_pair do nothing
            returning id, low_user_id, high_user_id
        )
        insert into members (conversation_id, user_id, kind, peer_id)
        select id, low_user_id, 'dialog'::conversation_kind, high_user_id from made
        union
        select id, high_user_id, 'dialog', low_user_id from made;
    end loop;

    stamped := clock_timestamp();

    -- What was deleted, or is gone for the sender, is not there to be replied to.
    if array_remove(replies_to, null) <> '{}' then
        select array_agg(q.sender_id order by i.ordinal), array_agg(u.name order by i.ordinal),
               array_agg(q.content order by i.ordinal)
        into reply_senders, reply_names, reply_contents
        from unnest(places, senders, replies_to) with ordinality as i (place, sender, reply_to, ordinal)
        -- By its id alone: a planner that knows nothing yet would look through the conversation for it.
        left join lateral (select m.* from messages m where m.id = i.reply_to limit 1) q
                          on q.conversation_id = ids[i.place] and q.deleted_at is null
                         and q.seq > (select m.cleared_seq from members m
                                      where m.conversation_id = ids[i.place] and m.user_id = i.sender)
        left join users u on u.id = q.sender_id;
    end if;

    return query
    with judged as materialized (
        select j.*, case when j.outcome = 'stored' then nextval('message_ids') end as id,
               count(*) filter (where j.outcome = 'stored') over (partition by j.place order by j.ordinal) as nth
        from (
            select i.ordinal, i.place, i.sender, s.name as sender_name, r.name as receiver_name,
                   before.id as repeat_id, before.seq as repeat_seq, before.created_at as repeat_at,
                   case
                       when locked[i.place] then 'locked'
                       when s.id is null or s.deleted_at is not null then 'unauthorized'
                       when before.id is not null then 'repeat'
                       when i.receiver is not null and (r.id is null or r.deleted_at is not null) then 'no_such_user'
                       when b.user_id is not null then 'blocked'
                       -- The receiver has signed up, or taken the sender back, since the dialogs were made.
                       when i.receiver is not null and ids[i.place] is null then 'no_such_user'
                       when ids[i.place] is null then 'no_such_group'
                       when i.receiver is null and (select m.user_id from members m where m.conversation_id = ids[i.place]
                                                    and m.user_id = i.sender) is null then 'not_a_member'
                       when replies_to[i.ordinal] is not null and reply_senders[i.ordinal] is null then 'no_such_message'
                       else 'stored'
                   end as outcome
            from unnest(places, senders, receivers, client_ids) with ordinality
                 as i (place, sender, receiver, client_id, ordinal)
            left join users s on s.id = i.sender
            left join users r on r.id = i.receiver
            left join blocks b on b.user_id = i.receiver and b.blocked_id = i.sender
            left join messages before on before.sender_id = i.sender and before.client_message_id = i.client_id
            -- Judged once, not wherever the outcome is asked for.
            offset 0
        ) j
    ), inserted as (
        insert into messages (id, conversation_id, seq, sender_id, content, client_message_id, reply_to_id,
                              created_at, updated_at, created_in)
        select j.id, ids[j.place], seqs[j.place] + j.nth, j.sender, contents[j.ordinal], client_ids[j.ordinal],
               replies_to[j.ordinal], stamped, stamped, number
        from judged j where j.outcome = 'stored'
    ), counted as (
        update conversations c
        set last_seq = c.last_seq + n.stored, low_sent = c.low_sent + n.of_low, last_message_at = stamped, change = number
        from (select j.place, count(*) as stored, count(*) filter (where j.sender = lows[j.place]) as of_low
              from judged j where j.outcome = 'stored' group by j.place) n
        where c.id = ids[n.place]
    )
    select j.ordinal, j.outcome, ids[j.place], coalesce(j.id, j.repeat_id),
           case when j.id is null then j.repeat_seq else seqs[j.place] + j.nth end,
           case when j.id is null then j.repeat_at else stamped end,
           case when j.nth = 1 then moved[j.place] else stamped end,
           j.sender_name, j.receiver_name, names[j.place],
           reply_senders[j.ordinal], reply_names[j.ordinal], reply_contents[j.ordinal], versions[j.place],
           case when j.id is not null and j.nth = 1 and versions[j.place] is distinct from known_versions[j.place]
                then (select array_agg(m.user_id) from members m where m.conversation_id = ids[j.place]) end
    from judged j;

    -- What has just been stored of groups is what is past their last_seq of before.
    if grouped then
        update members m set sent = m.sent + n.sent
        from (select x.conversation_id, x.sender_id, count(*) as sent
              from unnest(groups, ids, seqs) as i (group_id, id, seq)
              join messages x on x.conversation_id = i.id and x.seq > i.seq
              where i.group_id is not null
              group by x.conversation_id, x.sender_id) n
        where m.conversation_id = n.conversation_id and m.user_id = n.sender_id;
    end if;
end
$$;
