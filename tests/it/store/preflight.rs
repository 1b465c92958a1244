//! The checks of a database before the start, and the sentences that refuse one.

use std::net::TcpListener;

use hark::store::DatabaseTarget;

use crate::server::settings::{BAD_SETTING, GOOD_SECRET, Run, assert_refused, hark};
use crate::support::database;

async fn serve(url: &str) -> Run {
    hark(&[], &[("DATABASE_URL", url), ("HARK_JWT_SECRET", GOOD_SECRET)]).await
}

/// Returns the URL of the tests' PostgreSQL with another user, password or database.
fn url(database: &DatabaseTarget, user: &str, password: &str, name: &str) -> String {
    let DatabaseTarget::Socket { dir, port, .. } = database else { unreachable!("tests use the private PostgreSQL") };
    format!("postgres://{user}:{password}@localhost:{port}/{name}?host={}", dir.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn preflight_refuses_an_encoding_other_than_utf8() {
    for encoding in ["SQL_ASCII", "LATIN1"] {
        let database = database::create_with(&format!("encoding '{encoding}' locale 'C'")).await;
        let url = database::url(&database);
        assert_refused(&serve(&url).await, 1, &format!("its encoding is {encoding}"));
        assert_refused(&hark(&["migrate"], &[("DATABASE_URL", &url)]).await, 1, "UTF8");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn preflight_reports_an_unreachable_database_with_its_cause() {
    let database = database::create().await;
    let DatabaseTarget::Socket { dir, port, user, password, database: name } = &database else {
        unreachable!("tests use the private PostgreSQL")
    };
    let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
    let folder = dir.display().to_string();
    let nowhere = tempfile::TempDir::new().expect("a folder");
    let nowhere = nowhere.path().display().to_string();
    for (url, cause, parts) in [
        (format!("postgres://{user}:top-secret@{free}/{name}"), "connection refused", [free.to_string(), name.clone()]),
        (
            format!("postgres://{user}:top-secret@no-such-host.invalid:5432/{name}"),
            "there is no such host",
            ["no-such-host.invalid:5432".to_owned(), name.clone()],
        ),
        (
            format!("postgres://{user}:top-secret@localhost:{port}/{name}?host={nowhere}"),
            "there is no socket",
            [nowhere, name.clone()],
        ),
        (
            url(&database, user, "top-secret", name),
            "the password of the user hark is wrong",
            [folder.clone(), name.clone()],
        ),
        (
            url(&database, user, password.expose(), "no_such_database"),
            "there is no such database",
            [folder, "no_such_database".to_owned()],
        ),
    ] {
        for run in [serve(&url).await, hark(&["migrate"], &[("DATABASE_URL", &url)]).await] {
            assert_refused(&run, 1, cause);
            for part in &parts {
                assert!(run.stderr.contains(part), "{part} is not named: {}", run.stderr);
            }
            assert!(!run.stderr.contains("pool timed out"), "{}", run.stderr);
            assert!(!run.stderr.contains("top-secret") && !run.stderr.contains(password.expose()), "{}", run.stderr);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn preflight_reports_a_silent_database_with_its_address() {
    // This listener accepts connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("an address");
    let run = serve(&format!("postgres://hark:top-secret@{address}/hark")).await;
    assert_refused(&run, 1, "no answer within");
    assert!(run.stderr.contains(&address.to_string()), "{}", run.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn preflight_refuses_a_url_with_several_hosts() {
    for url in [
        "postgres://hark:top-secret@db1,db2/hark",
        "postgres://hark:top-secret@db1:5432,db2:5432/hark",
        "postgres://hark:top-secret@db1/hark?target_session_attrs=read-write",
    ] {
        let run = serve(url).await;
        assert_refused(&run, BAD_SETTING, "DATABASE_URL");
        assert!(run.stderr.contains("several hosts") && !run.stderr.contains("top-secret"), "{}", run.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn migrate_reports_what_it_applied_and_a_start_without_schema_is_refused() {
    let database = database::create_empty().await;
    let url = database::url(&database);
    let no_migration = [("DATABASE_URL", url.as_str()), ("HARK_JWT_SECRET", GOOD_SECRET), ("HARK_MIGRATE", "false")];
    let empty = hark(&[], &no_migration).await;
    assert_refused(&empty, 1, "it has no schema");
    assert!(empty.stderr.contains("hark migrate"), "{}", empty.stderr);

    let number = hark::MIGRATOR.iter().count();
    let first = hark(&["migrate"], &[("DATABASE_URL", &url)]).await;
    assert!(first.status.success(), "{}", first.stderr);
    assert!(first.stdout.starts_with(&format!("applied {number} migrations:\n")), "{}", first.stdout);
    assert!(first.stdout.contains("  20261122000002 users and sessions\n"), "{}", first.stdout);
    let again = hark(&["migrate"], &[("DATABASE_URL", &url)]).await;
    assert_eq!(again.stdout, "the schema was up to date; nothing was applied\n", "{}", again.stderr);

    // The schema looks like this to a build that is newer, and to one that is older.
    let mut sql = database::connect(&database).await;
    let last = hark::MIGRATOR.iter().last().expect("migrations");
    let forget = sqlx::query("delete from _sqlx_migrations where version = $1").bind(last.version);
    forget.execute(&mut sql).await.expect("it is forgotten");
    let old = hark(&[], &no_migration).await;
    assert_refused(&old, 1, "older than this build");
    assert!(old.stderr.contains("hark migrate") && old.stderr.contains(&last.version.to_string()), "{}", old.stderr);
    let future = "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
                  values (99990101000000, 'of the future', true, '', 0)";
    sqlx::query(future).execute(&mut sql).await.expect("it is there");
    for run in [hark(&["migrate"], &[("DATABASE_URL", &url)]).await, serve(&url).await] {
        assert_refused(&run, 1, "newer than this build");
        assert!(run.stderr.contains("99990101000000"), "{}", run.stderr);
    }
}
