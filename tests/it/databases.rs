//! Which databases are served from, and what is said of the others.

use std::net::TcpListener;

use hark::store::Address;
use serde_json::{Value, json};

use crate::settings::{BAD_SETTING, GOOD_SECRET, Run, assert_refused, hark};
use crate::support::{TestServer, answer, database};

async fn serve(url: &str) -> Run {
    hark(&[], &[("DATABASE_URL", url), ("HARK_JWT_SECRET", GOOD_SECRET)]).await
}

/// The URL of the tests' PostgreSQL with another user, password or database.
fn url(database: &Address, user: &str, password: &str, name: &str) -> String {
    let Address::Socket { dir, port, .. } = database else { unreachable!("tests use the private PostgreSQL") };
    format!("postgres://{user}:{password}@localhost:{port}/{name}?host={}", dir.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn encoding_other_than_utf8_is_refused() {
    for encoding in ["SQL_ASCII", "LATIN1"] {
        let database = database::create_with(&format!("encoding '{encoding}' locale 'C'")).await;
        let url = database::url(&database);
        assert_refused(&serve(&url).await, 1, &format!("its encoding is {encoding}"));
        assert_refused(&hark(&["migrate"], &[("DATABASE_URL", &url)]).await, 1, "UTF8");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_database_is_named_with_its_cause() {
    let database = database::create().await;
    let Address::Socket { dir, port, user, password, database: name } = &database else {
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
async fn silent_database_is_named_with_its_address() {
    // Takes connections and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("an address");
    let run = serve(&format!("postgres://hark:top-secret@{address}/hark")).await;
    assert_refused(&run, 1, "no answer within");
    assert!(run.stderr.contains(&address.to_string()), "{}", run.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn url_with_several_hosts_is_refused() {
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
async fn migrate_says_what_it_applied_and_a_schema_that_is_not_there_is_said() {
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
    assert!(first.stdout.contains("  20261120000001 users and sessions\n"), "{}", first.stdout);
    let again = hark(&["migrate"], &[("DATABASE_URL", &url)]).await;
    assert_eq!(again.stdout, "the schema was up to date; nothing was applied\n", "{}", again.stderr);

    // As a build sees it that is newer than the schema, and one that is older.
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

/// As an operator makes one who gives no locale, or `initdb` where none is set.
async fn with_c_locale() -> Address {
    database::create_with("encoding 'UTF8' lc_ctype 'C' lc_collate 'C'").await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_of_letters_tells_nobody_apart_whatever_the_locale() {
    let server = TestServer::on(with_c_locale().await, |config| config.migrate = true).await;
    let post = async |path: &str, body: Value| answer(server.http("POST", path).json(&body)).await;
    let (sign_up, login) = ("/api/v1/auth/sign-up", "/api/v1/auth/login");
    let account = |identity: Value| {
        let mut account = identity;
        account["password"] = json!("correct horse");
        account
    };
    for (first, second) in [
        (json!({ "username": "Ärger" }), json!({ "username": "äRGER" })),
        (json!({ "username": "ДМИТРИЙ" }), json!({ "username": "Дмитрий" })),
        (json!({ "username": "ΝΊΚΟΣ" }), json!({ "username": "νίκος" })),
        (json!({ "email": "ÉVA@example.org" }), json!({ "email": "éva@EXAMPLE.org" })),
    ] {
        let id = post(sign_up, account(first)).await.ok(201)["id"].clone();
        post(sign_up, account(second.clone())).await.refused(409, "conflict");
        assert_eq!(post(login, account(second)).await.ok(200)["id"], id);
    }
    let (_, mut asker) = server.client("Zoé").await;
    for (query, name) in [("äRG", "Ärger"), ("дми", "ДМИТРИЙ"), ("ΝΊΚ", "ΝΊΚΟΣ"), ("нет", "")] {
        let found = asker.done("searchUsers", json!({ "query": query })).await;
        let names: Vec<&str> =
            found["data"].as_array().expect("rows").iter().filter_map(|row| row["username"].as_str()).collect();
        assert_eq!(names.join(""), name, "{query}");
    }
    let by_address = asker.done("searchUsers", json!({ "query": "Éva@Example.ORG" })).await;
    assert_eq!(by_address["data"].as_array().map(Vec::len), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn fold_case_pairs_the_letters_of_all_scripts_whatever_the_locale() {
    let of_system = database::create().await;
    let of_c = with_c_locale().await;
    hark::MIGRATOR.run(&mut database::connect(&of_c).await).await.expect("the migrations apply");
    // Blocks that are full, so that a later Unicode adds no pair to them.
    let blocks = ('\u{1}'..='\u{52f}').chain('\u{531}'..='\u{587}').chain('\u{10a0}'..='\u{10ff}');
    let blocks = blocks.chain('\u{1e00}'..='\u{1fff}').chain('\u{2c00}'..='\u{2cff}').chain('\u{ff21}'..='\u{ff5a}');
    let pairs = blocks.chain('\u{10400}'..='\u{1044f}').filter_map(|c| {
        let small = c.to_lowercase().to_string();
        (small.chars().count() == 1).then(|| (c.to_string(), small))
    });
    let (letters, small): (Vec<String>, Vec<String>) = pairs.unzip();
    let capitals = letters.iter().zip(&small).filter(|(letter, small)| letter != small).count();
    assert!(capitals > 900, "{capitals}");
    for database in [of_system, of_c] {
        let wrong: Vec<String> = sqlx::query_scalar(
            "select letter from unnest($1::text[], $2::text[]) pair (letter, small)
             where fold_case(letter) <> fold_case(small) or fold_case('x' || letter) <> 'x' || fold_case(small)
                or fold_case(fold_case(letter)) <> fold_case(letter)",
        )
        .bind(&letters)
        .bind(&small)
        .fetch_all(&mut database::connect(&database).await)
        .await
        .expect("an answer");
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_only_case_tells_apart_stop_the_migration_which_names_them() {
    let database = with_c_locale().await;
    let mut sql = database::connect(&database).await;
    hark::MIGRATOR.run_to(20_261_120_000_012, &mut sql).await.expect("the migrations before it apply");
    let twins = "insert into users (email, password_hash) values ('Ärger@x', ''), ('ärger@x', ''), ('bob@x', '')";
    sqlx::query(twins).execute(&mut sql).await.expect("three people");
    let url = database::url(&database);
    let run = hark(&["migrate"], &[("DATABASE_URL", &url)]).await;
    assert_refused(&run, 1, "Ärger@x (ids 1, 2)");
    assert!(!run.stderr.contains("bob"), "{}", run.stderr);
    sqlx::query("update users set email = 'another@x' where id = 2").execute(&mut sql).await.expect("an address");
    let run = hark(&["migrate"], &[("DATABASE_URL", &url)]).await;
    assert!(run.status.success(), "{}", run.stderr);
}

/// Names of before the rules, which the locale of the database has told apart by case: each of them signs in as
/// they are.
#[tokio::test(flavor = "multi_thread")]
async fn usernames_that_only_case_told_apart_stay_those_of_their_accounts() {
    let database = with_c_locale().await;
    let mut sql = database::connect(&database).await;
    hark::MIGRATOR.run_to(20_261_120_000_012, &mut sql).await.expect("the migrations before the rules apply");
    let names = ["ÄÖ", "äö", "Äö", "äÖ"];
    let people = "insert into users (username, password_hash) select name, '' from unnest($1::text[]) name";
    sqlx::query(people).bind(names).execute(&mut sql).await.expect("four people");
    let server = TestServer::on(database, |config| config.migrate = true).await;
    let other = json!({ "username": "other", "password": "correct horse" });
    answer(server.http("POST", "/api/v1/auth/sign-up").json(&other)).await.ok(201);
    let alike = "update users set password_hash = (select password_hash from users where username = 'other')";
    sqlx::query(alike).execute(&mut sql).await.expect("all have one password");
    for (name, id) in names.into_iter().zip(1..) {
        let login = json!({ "username": name, "password": "correct horse" });
        let token = answer(server.http("POST", "/api/v1/auth/login").json(&login)).await.ok(200);
        assert_eq!(token["id"], id, "{name}");
    }
}
