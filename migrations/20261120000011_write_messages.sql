-- The durable write once more, with fewer look-ups. Each conversation was found by its pair of users
-- four times a message; now it is once, and what follows goes by its id. What holds about locks,
-- snapshots and plans is said where the function was first made.
create or replace function write_messages(
    senders bigint[], groups bigint[], receivers bigint[], contents text[], client_ids text[], replies_to bigint[],
    known_versions bigint[]
) returns table (
    ordinal         bigint,   -- place in the batch, from 1
    outcome         text,     -- stored, repeat, unauthorized, no_such_user, no_such_group, not_a_member, blocked, no_such_message
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
    stamped timestamptz(3);
    number  bigint := current_change();
    dialogs bigint[];  -- of each send that goes to a receiver
begin
    for attempt in 1..2 loop
        dialogs := array(
            select d.id from unnest(senders, receivers) with ordinality as i (sender, receiver, ordinal)
            left join conversations d on d.low_user_id = least(i.sender, i.receiver) and d.high_user_id = greatest(i.sender, i.receiver)
                                     and i.receiver is not null
            order by i.ordinal);
        exit when attempt = 2 or not exists (
            select from unnest(receivers, dialogs) as i (receiver, dialog) where i.receiver is not null and i.dialog is null);

        -- First sends make their dialogs.
        with missing as (
            select distinct least(i.sender, i.receiver) as low, greatest(i.sender, i.receiver) as high
            from unnest(senders, receivers, client_ids, dialogs) as i (sender, receiver, client_id, dialog)
            where i.receiver is not null and i.dialog is null
              and exists (select from users u where u.id = i.sender and u.deleted_at is null)
              and exists (select from users u where u.id = i.receiver and u.deleted_at is null)
              and not exists (select from blocks b where b.user_id = i.receiver and b.blocked_id = i.sender)
              and not exists (select from messages m where m.sender_id = i.sender and m.client_message_id = i.client_id)
        ), made as (
            insert into conversations (kind, low_user_id, high_user_id)
            select 'dialog', low, high from missing order by low, high
            on conflict on constraint one_dialog_a_pair do nothing
            returning id, low_user_id, high_user_id
        )
        insert into members (conversation_id, user_id, kind, peer_id)
        select id, low_user_id, 'dialog'::conversation_kind, high_user_id from made
        union
        select id, high_user_id, 'dialog', low_user_id from made;
    end loop;

    perform from conversations c
    where c.id in (
        select d.id from unnest(dialogs) as d (id)
        union
        select g.id from unnest(groups) as i (id) join conversations g on g.id = i.id and g.kind = 'group')
    order by c.id
    for no key update;

    stamped := clock_timestamp();

    return query
    with judged as (
        select i.*, c.id as conversation_id, c.name as group_name, c.last_seq, c.last_message_at as previous_at,
               c.member_version, s.name as sender_name, r.name as receiver_name,
               q.sender_id as reply_sender_id, qs.name as reply_sender_name, q.content as reply_content,
               before.id as repeat_id, before.seq as repeat_seq, before.created_at as repeat_at,
               case
                   when s.id is null or s.deleted_at is not null then 'unauthorized'
                   when before.id is not null then 'repeat'
                   when i.group_id is null and (r.id is null or r.deleted_at is not null) then 'no_such_user'
                   when i.group_id is null and exists (
                       select from blocks b where b.user_id = i.receiver and b.blocked_id = i.sender
                   ) then 'blocked'
                   -- The receiver has signed up, or taken the sender back, since the dialogs were made.
                   when i.group_id is null and c.id is null then 'no_such_user'
                   when i.group_id is not null and c.id is null then 'no_such_group'
                   when i.group_id is not null and not exists (
                       select from members m where m.conversation_id = c.id and m.user_id = i.sender
                   ) then 'not_a_member'
                   when i.reply_to is not null and q.id is null then 'no_such_message'
                   else 'stored'
               end as outcome
        from unnest(senders, groups, receivers, contents, client_ids, replies_to, known_versions, dialogs) with ordinality
             as i (sender, group_id, receiver, content, client_id, reply_to, known_version, dialog, ordinal)
        left join conversations c on c.id = coalesce(i.group_id, i.dialog)
                                 and (i.group_id is null or c.kind = 'group' and c.ended_at is null)
        left join users s on s.id = i.sender
        left join users r on r.id = i.receiver
        -- What was deleted, or is gone for the sender, is not there to be replied to. By its id alone: a
        -- planner that knows nothing yet would look through the conversation for it.
        left join lateral (select m.* from messages m where m.id = i.reply_to limit 1) q
                          on q.conversation_id = c.id and q.deleted_at is null
                         and not exists (select from members m where m.conversation_id = c.id
                                         and m.user_id = i.sender and m.cleared_seq >= q.seq)
        left join users qs on qs.id = q.sender_id
        left join messages before on before.sender_id = i.sender and before.client_message_id = i.client_id
    ), numbered as materialized (
        select j.*, nextval('message_ids') as id,
               row_number() over (partition by j.conversation_id order by j.ordinal) as nth
        from judged j
        where j.outcome = 'stored'
    ), inserted as (
        insert into messages (id, conversation_id, seq, sender_id, content, client_message_id, reply_to_id,
                              created_at, updated_at, created_in)
        select n.id, n.conversation_id, n.last_seq + n.nth, n.sender, n.content, n.client_id, n.reply_to,
               stamped, stamped, number
        from numbered n
    ), counted as (
        update conversations c set last_seq = n.last_seq, last_message_at = stamped, change = number
        from (select conversation_id, max(last_seq + nth) as last_seq from numbered group by conversation_id) n
        where c.id = n.conversation_id
    ), own as (
        update members m set own_sent = m.own_sent + n.sent
        from (select conversation_id, sender, count(*) as sent from numbered group by conversation_id, sender) n
        where m.conversation_id = n.conversation_id and m.user_id = n.sender
    )
    select n.ordinal, n.outcome, n.conversation_id, n.id, n.last_seq + n.nth, stamped::timestamptz,
           case when n.nth = 1 then n.previous_at else stamped end,
           n.sender_name, n.receiver_name, n.group_name,
           n.reply_sender_id, n.reply_sender_name, n.reply_content, n.member_version,
           case when n.nth = 1 and n.member_version is distinct from n.known_version
                then (select array_agg(m.user_id) from members m where m.conversation_id = n.conversation_id) end
    from numbered n
    union all
    select j.ordinal, j.outcome, j.conversation_id, j.repeat_id, j.repeat_seq, j.repeat_at, null,
           null, null, null, null, null, null, null, null
    from judged j
    where j.outcome <> 'stored'
    order by 1;
end
$$;
