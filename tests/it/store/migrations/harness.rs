//! The harness with migrations that are not Hark's own: they stand in a temporary folder behind those of this
//! build, as the next ones would.

use std::fs;
use std::path::Path;

use sqlx::migrate::Migrator;
use tempfile::TempDir;
use tokio::task::LocalSet;

use super::used_database::UsedDatabase;
use crate::support::database;

const NEXT: &str = "29991231000001_messages_have_topics.sql";

/// A migration as the README asks for it.
const GOOD: &str = "
    -- Messages have topics.
    set local lock_timeout = '5s';
    alter table messages add column topic text not null default 'general';
    -- The first word, for what is there already.
    update messages set topic = split_part(content, ' ', 1);
    create index messages_by_topic on messages (topic);
";

/// One that is right on an empty database alone.
const ONLY_WHERE_EMPTY: &str = "
    -- Messages have topics.
    create table topics (name text primary key);
    alter table messages add column topic text not null references topics;
";

/// One that cannot run in a transaction.
const CONCURRENT: &str = "-- no-transaction
    -- Messages by the time of their last change.
    create index concurrently messages_by_update on messages (updated_at)";

/// The migrations of this build, and one more.
async fn with_next(sql: &str) -> Migrator {
    let folder = TempDir::new().expect("a folder");
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations")).expect("the migrations") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, folder.path().join(path.file_name().expect("a name"))).expect("a copy");
    }
    fs::write(folder.path().join(NEXT), sql).expect("one more");
    let migrator = Migrator::new(folder.path()).await.expect("the migrations are read");
    assert_eq!(migrator.iter().count(), hark::MIGRATOR.iter().count() + 1, "README.md is not one of them");
    migrator
}

#[tokio::test(flavor = "multi_thread")]
async fn next_migration_keeps_what_is_there_and_an_older_node_serves_it() {
    let mut database = UsedDatabase::at_baseline().await;
    database.upgrade(&with_next(GOOD).await).await;
    let topics = "select string_agg(topic, ',' order by id) from messages";
    let topics: String = sqlx::query_scalar(topics).fetch_one(&mut database.sql().await).await.expect("topics");
    assert_eq!(topics, "from,from,of,of,needle,two,three,four,needle,six");
    // During an update, nodes of this build go on serving what a later one has migrated.
    let server = database.serve_as_it_is().await;
    database.assert_kept(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn migration_that_is_right_on_an_empty_database_alone_fails_on_one_with_rows() {
    let migrator = with_next(ONLY_WHERE_EMPTY).await;
    let empty = database::create().await;
    migrator.run(&mut database::connect(&empty).await).await.expect("it applies where there are no messages");

    let database = UsedDatabase::at_baseline().await;
    let refused = migrator.run(&mut database.sql().await).await.expect_err("there are messages");
    assert!(refused.to_string().contains("topic"), "{refused}");
    // It is rolled back as a whole, and the build before goes on.
    let has_topics = "select to_regclass('topics') is not null";
    assert!(!sqlx::query_scalar::<_, bool>(has_topics).fetch_one(&mut database.sql().await).await.expect("an answer"));
    let server = database.serve().await;
    database.assert_kept(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn index_of_a_large_table_can_be_made_without_a_transaction() {
    let mut database = UsedDatabase::at_baseline().await;
    database.upgrade(&with_next(CONCURRENT).await).await;
    let is_valid = "select indisvalid from pg_index where indexrelid = 'messages_by_update'::regclass";
    assert!(sqlx::query_scalar::<_, bool>(is_valid).fetch_one(&mut database.sql().await).await.expect("the index"));
    let server = database.serve_as_it_is().await;
    database.assert_kept(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn migration_that_damages_rows_is_found() {
    for damage in [
        "update members set own_read = 0",
        "delete from message_words",
        "update conversations set change = 0",
        "update notifications set read_at = null",
    ] {
        let mut database = UsedDatabase::at_baseline().await;
        database.upgrade(&with_next(&format!("-- Damage.\n{damage};")).await).await;
        let checks = LocalSet::new();
        let checked = checks.spawn_local(async move {
            let server = database.serve_as_it_is().await;
            database.assert_kept(&server).await;
        });
        checks.await;
        assert!(checked.await.is_err_and(|error| error.is_panic()), "{damage} goes unnoticed");
    }
}
