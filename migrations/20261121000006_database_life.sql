-- As before, and without a history while a dump is being restored: rows come before indexes, and numbers must not
-- be lifted before the last row is there.
create or replace function database_life(
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
