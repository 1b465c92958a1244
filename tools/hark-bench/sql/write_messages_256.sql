-- The same 256 messages through the function that Hark's writers call, with all that it looks at.
\set first :client_id * 64
select count(*) from write_messages(
    (select array_agg(2 * (:first + nth) - 1) from generate_series(1, 64) nth)::bigint[],
    (select array_agg(2 * (:first + nth)) from generate_series(1, 64) nth)::bigint[],
    array_fill(null::bigint, array[64]),
    array_fill(null::bigint, array[64]),
    (select array_agg(1 + nth % 64) from generate_series(0, 255) nth)::integer[],
    (select array_agg(2 * (:first + 1 + nth % 64) - 1) from generate_series(0, 255) nth)::bigint[],
    (select array_agg(2 * (:first + 1 + nth % 64)) from generate_series(0, 255) nth)::bigint[],
    array_fill(repeat('m', 100), array[256]),
    array_fill(null::text, array[256]),
    array_fill(null::bigint, array[256]), false);
