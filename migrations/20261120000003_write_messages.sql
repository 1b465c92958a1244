-- The durable write: a whole batch of sends in one call, which is one transaction and one round trip.
--
-- Element i of every array is one send: to a group, or to a receiver. `known_versions` holds the
-- version of the group's member list that the node has, or null; only where it is old does the
-- list come back, with the group's first stored message of the batch. A batch never holds two sends
-- with the same sender and client id.
--
-- The conversations are locked first and looked at afterwards, each in a statement of its own: a
-- statement that waits for a lock keeps the snapshot from before the wait, and would not see a
-- removal, a repeat or a seq that another node committed meanwhile. They are locked in the order
-- of their ids, so that two batches cannot wait for each other.
--
-- One plan for every batch: planning these statements anew takes longer than they run on a small one,
-- and what is cheapest, one index look-up a row, does not depend on the values.
create function write_messages(
    senders bigint[], groups bigint[], receivers bigint[], contents text[], client_ids text[], known_versions bigint[]
) returns table (
    ordinal         bigint,   -- place in the batch, from 1
    outcome         text,     -- stored, repeat, unauthorized, no_such_user, no_such_group, not_a_member
    conversation_id bigint,
    message_id      bigint,
    seq             bigint,
    created_at      timestamptz,
    previous_at     timestamptz,  -- when the conversation's message before this batch came
    sender_name     text,
    receiver_name   text,
    group_name      text,
    member_version  bigint,
    member_ids      bigint[]
) language plpgsql set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
    stamped timestamptz(3);
begin
    -- First sends make their dialogs.
    with missing as (
        select distinct least(i.sender, i.receiver) as low, greatest(i.sender, i.receiver) as high
        from unnest(senders, receivers, client_ids) as i (sender, receiver, client_id)
        where i.receiver is not null
          and not exists (select from conversations c
                          where c.low_user_id = least(i.sender, i.receiver) and c.high_user_id = greatest(i.sender, i.receiver))
          and exists (select from users u where u.id = i.sender and u.deleted_at is null)
          and exists (select from users u where u.id = i.receiver and u.deleted_at is null)
          and not exists (select from messages m where m.sender_id = i.sender and m.client_message_id = i.client_id)
    ), made as (
        insert into conversations (kind, low_user_id, high_user_id)
        select 'dialog', low, high from missing order by low, high
        on conflict on constraint one_dialog_a_pair do nothing
        returning id, low_user_id, high_user_id
    )
    insert into members (conversation_id, user_id, kind)
    select id, low_user_id, 'dialog'::conversation_kind from made
    union
    select id, high_user_id, 'dialog' from made;

    perform from conversations c
    where c.id in (
        select d.id from unnest(senders, receivers) as i (sender, receiver)
        join conversations d on d.low_user_id = least(i.sender, i.receiver) and d.high_user_id = greatest(i.sender, i.receiver)
        where i.receiver is not null
        union
        select g.id from unnest(groups) as i (id) join conversations g on g.id = i.id and g.kind = 'group')
    order by c.id
    for no key update;

    stamped := clock_timestamp();

    return query
    with input as (
        select i.*, coalesce(g.id, d.id) as conversation_id, g.name as group_name,
               coalesce(g.last_seq, d.last_seq) as last_seq, coalesce(g.last_message_at, d.last_message_at) as previous_at,
               g.member_version
        from unnest(senders, groups, receivers, contents, client_ids, known_versions) with ordinality
             as i (sender, group_id, receiver, content, client_id, known_version, ordinal)
        left join conversations g on g.id = i.group_id and g.kind = 'group' and g.ended_at is null
        left join conversations d on d.low_user_id = least(i.sender, i.receiver) and d.high_user_id = greatest(i.sender, i.receiver)
                                 and i.receiver is not null
    ), judged as (
        select i.*, s.name as sender_name, r.name as receiver_name,
               before.id as repeat_id, before.seq as repeat_seq, before.created_at as repeat_at,
               case
                   when s.id is null or s.deleted_at is not null then 'unauthorized'
                   when before.id is not null then 'repeat'
                   -- Without a dialog as well: the receiver has signed up since the dialogs were made.
                   when i.group_id is null and (r.id is null or r.deleted_at is not null or i.conversation_id is null)
                       then 'no_such_user'
                   when i.group_id is not null and i.conversation_id is null then 'no_such_group'
                   when i.group_id is not null and not exists (
                       select from members m where m.conversation_id = i.conversation_id and m.user_id = i.sender
                   ) then 'not_a_member'
                   else 'stored'
               end as outcome
        from input i
        left join users s on s.id = i.sender
        left join users r on r.id = i.receiver
        left join messages before on before.sender_id = i.sender and before.client_message_id = i.client_id
    ), numbered as materialized (
        select j.*, nextval('message_ids') as id,
               row_number() over (partition by j.conversation_id order by j.ordinal) as nth
        from judged j
        where j.outcome = 'stored'
    ), inserted as (
        insert into messages (id, conversation_id, seq, sender_id, content, client_message_id, created_at, updated_at)
        select n.id, n.conversation_id, n.last_seq + n.nth, n.sender, n.content, n.client_id, stamped, stamped
        from numbered n
    ), counted as (
        update conversations c set last_seq = n.last_seq, last_message_at = stamped
        from (select conversation_id, max(last_seq + nth) as last_seq from numbered group by conversation_id) n
        where c.id = n.conversation_id
    ), own as (
        update members m set own_unread = m.own_unread + n.sent
        from (select conversation_id, sender, count(*) as sent from numbered group by conversation_id, sender) n
        where m.conversation_id = n.conversation_id and m.user_id = n.sender
    )
    select n.ordinal, n.outcome, n.conversation_id, n.id, n.last_seq + n.nth, stamped::timestamptz,
           case when n.nth = 1 then n.previous_at else stamped end,
           n.sender_name, n.receiver_name, n.group_name, n.member_version,
           case when n.nth = 1 and n.member_version is distinct from n.known_version
                then (select array_agg(m.user_id) from members m where m.conversation_id = n.conversation_id) end
    from numbered n
    union all
    select j.ordinal, j.outcome, j.conversation_id, j.repeat_id, j.repeat_seq, j.repeat_at, null,
           null, null, null, null, null
    from judged j
    where j.outcome <> 'stored'
    order by 1;
end
$$;
