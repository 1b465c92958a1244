-- Full-text search over messages. The index is kept beside the messages, because a GIN index inside the
-- write would cost more than the write: a task of the server adds the tokens of new messages a little
-- later, in batches, and a search reads the messages that are not indexed yet itself.

-- The tokens of a message. Besides its words these are, as tokens that no query can contain, who may read
-- it and where it lies: `#` and its conversation; in a dialog, `@` and each of the two users; and `~` with
-- its id bucket, of 16384 ids in a row. The index only narrows a search down: what it finds is compared
-- with the content, and with what the asker may read, before it is returned.
create table message_words (
    message_id bigint primary key,
    words      tsvector not null
);

-- New tokens wait in a pending list that a search reads as well, until it is this many kB; in one go they
-- cost a third of what they do one by one.
create index words_of_messages on message_words using gin (words) with (fastupdate = on, gin_pending_list_limit = 1024);

-- How far the index has come, in one row: every message up to `indexed_to` has a row in message_words,
-- and none below it will appear any more. After a standby has taken over, or a restore, ids are
-- assigned again and `indexed_to` may be above messages that are not there yet; the server then moves
-- it back to the first message without a row.
create table search_progress (indexed_to bigint not null);
create unique index one_search_progress on search_progress ((true));
insert into search_progress values (0);

-- Returns in `ids` the newest indexed messages that may match `query` and that `asker` may read: those of
-- the id buckets from first_bucket to last_bucket, or of all if they are null; of `conversation`, or of
-- all if it is null; below the id `before_id`; at most max_ids, the newest first. It locks nothing.
--
-- The index finds all that match before the newest of them are known, so a search for a frequent word
-- begins with the last buckets. A user's groups are part of the index query only if they are few: a
-- term for each of twenty thousand groups made PostgreSQL run out of stack. If they are many, the index
-- query has the words alone, and of what it finds the newest max_candidates are looked up in `members`;
-- if there are more, `reached` is the last of these, else null.
--
-- Every search is planned anew: what is cheapest depends on how frequent its words are. The ids are found
-- first and sorted afterwards: a scan down the primary key, which a planner chooses that takes a word for
-- frequent, ends at once if it is right and reads everything if it is not.
create function search_indexed_messages(
    asker bigint, conversation bigint, query text, first_bucket bigint, last_bucket bigint, before_id bigint,
    max_ids bigint, max_candidates bigint
) returns table (ids bigint[], reached bigint) language plpgsql stable set plan_cache_mode = force_custom_plan as $$
declare
    max_group_terms constant bigint := 1000;
    matching tsquery := query::tsquery;
    readable tsquery;
    group_ids bigint[];
begin
    if conversation is not null then
        readable := format('''#%s''', conversation)::tsquery;
    else
        select coalesce(array_agg(g.conversation_id), '{}') into group_ids
        from (select m.conversation_id from members m where m.user_id = asker and m.kind = 'group' limit max_group_terms + 1) g;
        if cardinality(group_ids) <= max_group_terms then
            select (coalesce(string_agg(format('''#%s'' | ', g.id), ''), '') || format('''@%s''', asker))::tsquery
            into readable
            from unnest(group_ids) g (id);
        end if;
    end if;
    if first_bucket is not null then
        matching := matching && (select string_agg(format('''~%s''', bucket), ' | ')::tsquery
                                 from generate_series(first_bucket, last_bucket) bucket);
    end if;
    if readable is null then
        return query
        with found as materialized (
            select w.message_id from message_words w where w.words @@ matching and w.message_id < before_id
        ), newest as materialized (
            select f.message_id from found f order by f.message_id desc limit max_candidates
        )
        select (select coalesce(array_agg(n.message_id order by n.message_id desc), '{}') from newest n
                where exists (select from messages m
                              join members me on me.conversation_id = m.conversation_id and me.user_id = asker
                              where m.id = n.message_id)),
               case when (select count(*) from newest) >= max_candidates then (select min(n.message_id) from newest n) end;
    else
        return query
        -- Two conditions, because the index skips from what one finds to what the other does; of a
        -- single one it would look at everything that is readable.
        with found as materialized (
            select w.message_id from message_words w
            where w.words @@ matching and w.words @@ readable and w.message_id < before_id
        ), newest as (
            select f.message_id from found f order by f.message_id desc limit max_ids
        )
        select coalesce(array_agg(n.message_id order by n.message_id desc), '{}'), null::bigint from newest n;
    end if;
end
$$;

-- Returns the newest messages past `after_id`, up to which all are indexed, that `asker` may read,
-- whatever their text: of `conversation`, or of all if it is null; below the id `before_id`; at most
-- max_ids, the newest first. It locks nothing.
create function search_unindexed_messages(asker bigint, conversation bigint, after_id bigint, before_id bigint, max_ids bigint)
returns bigint[] language plpgsql stable set plan_cache_mode = force_custom_plan as $$
begin
    return (
        with newest as (
            select m.id
            from messages m join members me on me.conversation_id = m.conversation_id and me.user_id = asker
            where m.id > after_id and m.id < before_id and m.seq > me.cleared_seq
              and (conversation is null or m.conversation_id = conversation)
            order by m.id desc limit max_ids
        )
        select coalesce(array_agg(n.id order by n.id desc), '{}') from newest n
    );
end
$$;
