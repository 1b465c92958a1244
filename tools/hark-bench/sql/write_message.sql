-- One message through the function that Hark's writers call: what a server that costs nothing would take.
\set dialog random(1, 512)
select * from write_messages(
    array[2 * :dialog - 1]::bigint[], array[2 * :dialog]::bigint[], array[null]::bigint[], array[null]::bigint[],
    array[1], array[2 * :dialog - 1]::bigint[], array[2 * :dialog]::bigint[], array[repeat('m', 100)],
    array[null]::text[], array[null]::bigint[], false);
