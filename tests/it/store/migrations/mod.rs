//! Migrations run on a database that was in use: what is in it is there afterwards, and clients read it.
//!
//! [`used_database`] is the harness, [`later`] has a test for each migration after the baseline, and
//! [`harness`] shows that the harness finds a migration that is wrong.

mod harness;
mod later;
mod used_database;

use std::collections::BTreeSet;

use self::used_database::{UsedDatabase, assert_accounts_kept, assert_notifications_kept};
use crate::server::settings::{GOOD_SECRET, assert_refused, hark};
use crate::support::database;

/// The last migration of the baseline: the schema as of 0.1.0, in seven files.
const BASELINE: i64 = 20_261_122_000_007;

#[tokio::test(flavor = "multi_thread")]
async fn migrations_keep_conversations() {
    let database = UsedDatabase::at_baseline().await;
    let server = database.serve().await;
    database.assert_conversations_kept(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_keep_notifications_read_and_unread() {
    let database = UsedDatabase::at_baseline().await;
    assert_notifications_kept(&database.serve().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_keep_accounts_and_usernames() {
    let database = UsedDatabase::at_baseline().await;
    assert_accounts_kept(&database.serve().await).await;
}

/// Migrations after the baseline whose name no test in `tests` begins with.
fn untested<'a>(migrations: impl IntoIterator<Item = (i64, &'a str)>, tests: &str) -> Vec<String> {
    let later = migrations.into_iter().filter(|(version, _)| *version > BASELINE);
    let names = later.map(|(_, description)| description.replace(' ', "_"));
    names.filter(|name| !tests.contains(&format!("\nasync fn {name}"))).collect()
}

#[test]
fn every_migration_after_the_baseline_has_a_test_on_a_database_with_rows() {
    let migrations = hark::MIGRATOR.iter().map(|migration| (migration.version, migration.description.as_ref()));
    let untested = untested(migrations, include_str!("later.rs"));
    assert!(
        untested.is_empty(),
        "tests/it/store/migrations/later.rs has no test that begins with: {}",
        untested.join(", ")
    );
    let baseline = hark::MIGRATOR.iter().filter(|migration| migration.version <= BASELINE);
    assert_eq!(baseline.count(), 7, "a new migration is later than the baseline");
}

#[test]
fn migration_without_a_test_is_found() {
    let migrations = [(BASELINE, "search"), (BASELINE + 1, "messages have topics"), (BASELINE + 2, "users have pets")];
    assert_eq!(untested(migrations, "\nasync fn messages_have_topics_of_old() {"), ["users_have_pets"]);
    assert!(
        untested(migrations, "\n// async fn messages_have_topics_of_old() {")
            .contains(&"messages_have_topics".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn schema_of_a_development_build_is_refused_and_the_refusal_says_what_to_do() {
    let database = database::create_empty().await;
    let url = database::url(&database);
    // As the last build before the baseline has left it.
    let development = "
        create table users (id bigint primary key);
        insert into users values (1);
        create table _sqlx_migrations (version bigint primary key, description text not null,
            installed_on timestamptz not null default now(), success boolean not null, checksum bytea not null,
            execution_time bigint not null);
        insert into _sqlx_migrations (version, description, success, checksum, execution_time) values
            (20261120000001, 'users and sessions', true, '', 0), (20261121000040, 'fold case', true, '', 0);";
    let mut sql = database::connect(&database).await;
    sqlx::raw_sql(development).execute(&mut sql).await.expect("the schema of before");
    let settings =
        |migrate| [("DATABASE_URL", url.as_str()), ("HARK_JWT_SECRET", GOOD_SECRET), ("HARK_MIGRATE", migrate)];
    for run in [
        hark(&["migrate"], &[("DATABASE_URL", &url)]).await,
        hark(&[], &settings("true")).await,
        hark(&[], &settings("false")).await,
    ] {
        assert_refused(&run, 1, "20261120000001");
        for part in ["development build from before 0.1.0", "empty database", "DATABASE_URL", "HARK_DATA_DIR", "export"]
        {
            assert!(run.stderr.contains(part), "{part}: {}", run.stderr);
        }
        assert!(!run.stderr.contains("newer than this build"), "{}", run.stderr);
    }
    let tables: BTreeSet<String> = sqlx::query_scalar(
        "select relname::text from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'",
    )
    .fetch_all(&mut sql)
    .await
    .expect("the tables")
    .into_iter()
    .collect();
    assert_eq!(tables, ["_sqlx_migrations", "users"].map(str::to_owned).into(), "nothing was changed");
}
