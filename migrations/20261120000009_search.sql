-- Full text over messages, kept beside them: a send does not wait for it. The server adds the words of
-- new messages a little later, in batches, and a search reads those that are not here yet themselves.

-- The words of a message, and who may read it: `#` and its conversation, and in a dialog `@` and each of
-- the two people; and `~` with the era of its id, 16384 ids in a row. No word begins with one of these.
-- The words only narrow a search down: what they find is compared with the content before anybody sees it.
create table message_words (
    message_id bigint primary key,
    words      tsvector not null
);

-- New words wait in a list that a search reads as well, until it is this many kB; in one go they cost
-- a third of what they do one by one.
create index words_of_messages on message_words using gin (words) with (fastupdate = on, gin_pending_list_limit = 1024);

-- Every message up to here is in message_words, and none below it will appear any more.
create table search_progress (indexed_to bigint not null);
create unique index one_search_progress on search_progress ((true));
insert into search_progress values (0);

-- The newest messages of these eras, or of all where they are null, that may match and that `asker` may
-- read, in `place` alone unless that is null; at most `many` from `below` down. The index finds all that
-- match before the newest of them are known, so who looks for a frequent word begins with the last era.
--
-- A plan for every search: what is cheapest depends on how frequent its words are. The ids are found
-- first and sorted afterwards: a walk down the primary key, as a planner that takes a word for frequent
-- would like it, ends at once where it is right and reads everything where it is not.
create function search_indexed(
    asker bigint, place bigint, wanted text, first_era bigint, last_era bigint, below bigint, many bigint
) returns bigint[] language plpgsql stable set plan_cache_mode = force_custom_plan as $$
declare
    narrowed tsquery := wanted::tsquery;
    readable tsquery := format('''#%s''', place)::tsquery;
begin
    if place is null then
        select (coalesce(string_agg(format('''#%s'' | ', m.conversation_id), ''), '') || format('''@%s''', asker))::tsquery
        into readable
        from members m where m.user_id = asker and m.kind = 'group';
    end if;
    if first_era is not null then
        narrowed := narrowed && (select string_agg(format('''~%s''', era), ' | ')::tsquery
                                 from generate_series(first_era, last_era) era);
    end if;
    return (
        -- Two conditions, because the index skips from what one finds to what the other does; of a
        -- single one it would look at everything that is readable.
        with found as materialized (
            select w.message_id from message_words w
            where w.words @@ narrowed and w.words @@ readable and w.message_id < below
        ), newest as (
            select f.message_id from found f order by f.message_id desc limit many
        )
        select coalesce(array_agg(n.message_id order by n.message_id desc), '{}') from newest n
    );
end
$$;

-- The newest messages past `indexed_to` that `asker` may read, whatever they say.
create function search_unindexed(asker bigint, place bigint, indexed_to bigint, below bigint, many bigint)
returns bigint[] language plpgsql stable set plan_cache_mode = force_custom_plan as $$
begin
    return (
        with newest as (
            select m.id
            from messages m join members me on me.conversation_id = m.conversation_id and me.user_id = asker
            where m.id > search_unindexed.indexed_to and m.id < below and m.seq > me.cleared_seq
              and (place is null or m.conversation_id = place)
            order by m.id desc limit many
        )
        select coalesce(array_agg(n.id order by n.id desc), '{}') from newest n
    );
end
$$;
