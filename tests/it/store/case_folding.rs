//! Case folding of e-mail addresses and usernames, which does not depend on the locale of the database.

use hark::store::DatabaseTarget;
use serde_json::{Value, json};

use crate::support::{TestServer, answer, database};

/// Creates a database with the locale C, as it is made where no locale is set.
async fn with_c_locale() -> DatabaseTarget {
    database::create_with("encoding 'UTF8' lc_ctype 'C' lc_collate 'C'").await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_folding_makes_emails_and_usernames_unique_in_any_locale() {
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
    let (_, mut asker) = server.connect_user("Zoé").await;
    for (query, name) in [("äRG", "Ärger"), ("дми", "ДМИТРИЙ"), ("ΝΊΚ", "ΝΊΚΟΣ"), ("нет", "")] {
        let found = asker.call_ok("searchUsers", json!({ "query": query })).await;
        let names: Vec<&str> =
            found["data"].as_array().expect("rows").iter().filter_map(|row| row["username"].as_str()).collect();
        assert_eq!(names.join(""), name, "{query}");
    }
    let by_address = asker.call_ok("searchUsers", json!({ "query": "Éva@Example.ORG" })).await;
    assert_eq!(by_address["data"].as_array().map(Vec::len), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn fold_case_pairs_the_letters_of_all_scripts_in_any_locale() {
    let of_system = database::create().await;
    let of_c = with_c_locale().await;
    hark::MIGRATOR.run(&mut database::connect(&of_c).await).await.expect("the migrations apply");
    // These blocks are full, so a later version of Unicode adds no pair to them.
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
async fn schema_refuses_emails_that_differ_in_case_only_whatever_the_locale() {
    let database = with_c_locale().await;
    let mut sql = database::connect(&database).await;
    hark::MIGRATOR.run(&mut sql).await.expect("the migrations apply");
    let twins = "insert into users (email, password_hash) values ('Ärger@x', ''), ('ärger@x', ''), ('bob@x', '')";
    let refused = sqlx::query(twins).execute(&mut sql).await.expect_err("two of them have one address");
    let refused = refused.as_database_error().expect("an answer of the database");
    assert_eq!(refused.constraint(), Some("users_email_key"), "{refused}");
    assert!(refused.is_unique_violation() && !refused.to_string().contains("bob"), "{refused}");
    let others = "insert into users (email, password_hash) values ('Ärger@x', ''), ('another@x', ''), ('bob@x', '')";
    sqlx::query(others).execute(&mut sql).await.expect("three people");
}

/// Usernames that are older than the uniqueness rules, which the database's locale told apart by case: each
/// user logs in as before.
#[tokio::test(flavor = "multi_thread")]
async fn migration_keeps_usernames_that_differ_in_case_only() {
    let database = with_c_locale().await;
    let mut sql = database::connect(&database).await;
    hark::MIGRATOR.run(&mut sql).await.expect("the migrations apply");
    // Rows as they were before the keys of usernames.
    let before = "alter table users drop constraint usernames_have_a_key";
    sqlx::query(before).execute(&mut sql).await.expect("names need no keys");
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
