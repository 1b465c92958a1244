-- `indexed_to` could come to stand above messages that were not there yet: a standby took over, and ids were
-- given again. Every message up to it has a row in message_words, so the first one without is where it belongs.
update search_progress set indexed_to = least(
    indexed_to,
    (select case when is_called then last_value else 0 end from message_ids),
    (select min(m.id) - 1 from messages m
     where m.id <= indexed_to and not exists (select from message_words w where w.message_id = m.id)));
