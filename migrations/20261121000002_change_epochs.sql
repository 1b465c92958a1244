-- A cursor of `sync` names an epoch, and proves something only in the history that it was handed out in.
--
-- A restore, or a standby that takes over, puts a database back to an earlier state, and from there on
-- everything is numbered as before. So an epoch is drawn at random at every start of a server, and whenever
-- a server finds that PostgreSQL was restarted or is another one. No change is made before that, in two steps:
--
-- 1. a transaction inserts the epoch, and commits;
-- 2. `began` becomes the end of a snapshot that was taken after the commit.
--
-- A cursor names the newest epoch that its snapshot sees. It does not see the first step of any later one, so
-- it ends at or before `began` of each later epoch. A cursor of a history that was lost names an epoch that
-- the restored database does not know; or one that it knows, and then every change that was made since the
-- restore is at or above `began` of a later epoch: if the cursor reaches past that, it proves nothing.
create table change_epochs (
    -- In the order in which they were drawn.
    nth      bigint generated always as identity primary key,
    epoch    bigint not null unique default random_number(),
    -- See change_clock. Of another clock, or another timeline of the cluster, a cursor proves nothing.
    clock    bigint not null,
    timeline bigint not null,
    -- The number of a transaction, not lifted, as cursors have it. Null where the server died in between.
    began    bigint,
    drawn_at timestamptz(3) not null default now()
);

-- The epochs since PostgreSQL last crashed or was restored from a backup of its files: an unlogged table is
-- empty then. After a crash numbers of transactions that left nothing behind are given again, so that
-- an epoch has to be drawn.
create unlogged table epochs_in_effect (epoch bigint not null);

-- The clock belongs to the row that was written here: `written_in` is the transaction that wrote it, as `xmin`
-- says too. In a row that a dump has brought the two differ, also in the same cluster.
alter table change_clock
    drop column generation,
    -- Drawn at random whenever numbers are lifted.
    add column clock      bigint not null default random_number(),
    add column written_in bigint not null default 0;

-- Called before every epoch that is drawn. It never sets the shift back: a change that is being made has its
-- number already.
create or replace function keep_change_clock() returns void language plpgsql as $$
declare
    here    bigint := (select system_identifier from pg_control_system());
    now_in  bigint;
    highest bigint;
begin
    perform from change_clock for update;
    if (select cluster = here and written_in % 4294967296 = xmin::text::bigint from change_clock) then
        return;
    end if;
    select greatest((select max(change) from conversations), (select max(greatest(change, own_change)) from members),
                    (select max(change) from message_changes), (select max(change) from group_events), 0)
    into highest;
    now_in := pg_current_xact_id()::text::bigint;
    update change_clock set cluster = here, clock = random_number(), written_in = now_in,
        shift = greatest(shift, highest - now_in + 1);
end
$$;

-- Which history of which database this is, and since when it runs. None while a dump is being restored: rows
-- come before indexes, and numbers must not be lifted before the last row is there.
create function database_life(
    out is_standby boolean,
    -- Differs where it is another cluster, another timeline of it, another database or another clock.
    out history    text,
    out timeline   bigint,
    -- When PostgreSQL was started, in microseconds since 1970.
    out started    bigint,
    -- How far the log is on the disk. It never goes back, unless the files were put back.
    out flushed    bigint,
    -- Whether an epoch was drawn since the last crash or restore.
    out has_epoch  boolean
) language plpgsql as $$
begin
    is_standby := pg_is_in_recovery();
    started := extract(epoch from pg_postmaster_start_time()) * 1000000;
    if is_standby or to_regclass('one_change_clock') is null or to_regclass('change_epochs_pkey') is null then
        return;
    end if;
    timeline := ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint;
    flushed := pg_current_wal_flush_lsn() - '0/0'::pg_lsn;
    select format('%s %s %s %s %s', s.system_identifier, database_life.timeline, d.oid, 'change_clock'::regclass::oid, c.clock),
           c.cluster = s.system_identifier and c.written_in % 4294967296 = c.xmin::text::bigint
               and exists (select from epochs_in_effect i join change_epochs e on e.epoch = i.epoch)
    into history, has_epoch
    from change_clock c, pg_control_system() s, pg_database d where d.datname = current_database();
end
$$;
