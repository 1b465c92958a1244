-- A session is a number and a nonce. After a restore the numbers are given again, to other people, and
-- a token of the history that was lost would name somebody else's session; the nonce is never given again.

-- Sixty random bits: never the same in two histories of one database.
create function random_number() returns bigint language sql volatile as
    $$select ('x0' || right(replace(gen_random_uuid()::text, '-', ''), 15))::bit(64)::bigint$$;

alter table sessions add column nonce bigint not null default random_number();
comment on column sessions.nonce is 'also in the tokens; a token without the right one names no session';
